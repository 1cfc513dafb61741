"""The network path: ICMP quotes and hop counts. Facts only; places are concluded in verdict/."""
