"""Cases: many captures judged into one folder, with a chain of custody."""
