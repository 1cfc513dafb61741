// Resumable upload by the tus protocol 1.0.0 (tus.io): create, then send pieces, asking after each break how far it got.
"use strict";
(() => {
  const form = document.getElementById("upload");
  const input = document.getElementById("file");
  const drop = document.getElementById("drop");
  const status = document.getElementById("status");
  const said = document.getElementById("said");
  const bar = document.getElementById("bar");
  const PIECE = 1 << 20;
  const TUS = { "Tus-Resumable": "1.0.0" };

  const say = (text) => {
    status.classList.remove("hidden");
    if (said.textContent !== text) said.textContent = text;
  };
  const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
  const encode = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

  async function create(file) {
    const told = ["isp", "city", "month", "note"].map((name) => name + " " + encode(form.elements[name].value)).join(",");
    const made = await fetch("/files?lang=" + form.dataset.lang, {
      method: "POST",
      headers: { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": told },
    });
    if (made.status !== 201) throw made.status;
    return made.headers.get("Location");
  }

  async function send(file) {
    const place = await create(file);
    try {
      await pieces(file, place);
    } catch (why) {
      await fetch(place, { method: "DELETE", headers: TUS }).catch(() => null); // what came of it does not stay
      throw why;
    }
    location.assign("/r/" + place.split("/").pop() + "?lang=" + form.dataset.lang);
  }

  async function pieces(file, place) {
    let offset = 0;
    let pause = 1;
    while (offset < file.size) {
      bar.value = (100 * offset) / file.size;
      say(form.dataset.sending + " " + Math.floor((100 * offset) / file.size) + " %");
      let piece;
      try {
        piece = await file.slice(offset, offset + PIECE).arrayBuffer();
      } catch (error) {
        throw "changed"; // it was written to since it was chosen, or is gone
      }
      try {
        const sent = await fetch(place, {
          method: "PATCH",
          headers: { ...TUS, "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" },
          body: piece,
        });
        if (sent.status === 204) {
          offset = Number(sent.headers.get("Upload-Offset"));
          pause = 1;
          continue;
        }
        if ([403, 404, 410, 413, 507].includes(sent.status)) throw new RangeError(String(sent.status));
      } catch (error) {
        if (error instanceof RangeError) throw Number(error.message);
      }
      say(form.dataset.resume);
      await wait(pause);
      pause = Math.min(pause * 2, 30);
      try {
        const head = await fetch(place, { method: "HEAD", headers: TUS });
        if (head.ok) offset = Number(head.headers.get("Upload-Offset"));
      } catch (error) {
        // still no connection: the next round asks again
      }
    }
  }

  form.addEventListener("submit", (event) => {
    const file = input.files[0];
    if (!file || !file.size) return;
    event.preventDefault();
    if (file.size > Number(form.dataset.max)) return say(form.dataset.tooLarge);
    form.querySelector("button").disabled = true;
    send(file).catch((why) => {
      form.querySelector("button").disabled = false;
      if (why === 403) return location.reload(); // the page says who stands in between
      const { tooLarge, tooMany, full, changed, broken, offline } = form.dataset;
      say({ 413: tooLarge, 503: tooMany, 507: full, changed }[why] || (Number.isInteger(why) ? broken : offline));
    });
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) input.files = event.dataTransfer.files;
    });
  }
})();
