// The script of the guard's own pages. Where somebody signs in it makes a key pair whose private half it can use and never read;
// where a strict application is entered without a page it proves with that key that this is the same browser. Without it, or
// where the browser has no WebCrypto (plain HTTP), both pages work as forms do: then the entry asks to sign in again.
(() => {
  "use strict";
  const PLACE = "/.vestibule/", NAME = ".vestibule", KEYS = "keys";
  // Keys of logins that came to nothing are forgotten, the oldest first.
  const MOST = 8;
  // Proofs in a row, in this tab: more lead round in a circle.
  const IN_A_ROW = 30, WITHIN = 10000;
  const subtle = self.crypto && crypto.subtle;
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");

  const settled = (request) => new Promise((done, failed) => {
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  });
  const finished = (transaction) => new Promise((done, failed) => {
    transaction.oncomplete = done;
    transaction.onabort = transaction.onerror = () => failed(transaction.error);
  });
  const open = () => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(KEYS, { keyPath: "id" });
    return settled(request);
  };

  // Makes a key pair, keeps it under the text of its public half, and returns that.
  const make = async () => {
    const pair = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
    const id = text(await subtle.exportKey("raw", pair.publicKey));
    const keys = await open(), transaction = keys.transaction(KEYS, "readwrite"), store = transaction.objectStore(KEYS);
    store.put({ id, made: Date.now(), key: pair.privateKey });
    const all = await settled(store.getAll());
    all.sort((one, other) => other.made - one.made).slice(MOST).forEach((old) => store.delete(old.id));
    await finished(transaction);
    keys.close();
    return id;
  };
  const find = async (id) => {
    const keys = await open(), found = await settled(keys.transaction(KEYS).objectStore(KEYS).get(id));
    keys.close();
    return found && found.key;
  };

  // The login page: the key goes along with the form, unless making it takes too long.
  const login = (form) => {
    let sent = false;
    const later = (span) => new Promise((done) => setTimeout(done, span));
    form.addEventListener("submit", async (event) => {
      if (sent) return;
      event.preventDefault();
      sent = true;
      const id = await Promise.race([make(), later(3000)]).catch(() => {});
      form.elements.key.value = id || "";
      form.requestSubmit(event.submitter);
    });
    addEventListener("pageshow", () => { sent = false; });
  };

  const inCircles = () => {
    try {
      const now = Date.now(), before = JSON.parse(sessionStorage.getItem(NAME) || "[]").filter((at) => now - at < WITHIN && at <= now);
      sessionStorage.setItem(NAME, JSON.stringify([...before, now]));
      return before.length >= IN_A_ROW;
    } catch {
      return false;
    }
  };

  // The page at the entry: on to where the person was going, or to the login page.
  const enter = async ({ key: id, app, session, challenge, to }) => {
    const key = await find(id);
    if (!key) throw new Error("another browser signed in");
    const message = ["vestibule/1 entry proof", app, location.origin, session, challenge, to].join("\n");
    const signature = await subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key, new TextEncoder().encode(message));
    const body = new URLSearchParams({ challenge, to, signature: text(signature) });
    const answer = await fetch(PLACE + "entry", { method: "POST", body, cache: "no-store", redirect: "error" });
    if (!answer.ok) throw new Error(answer.headers.get("vestibule-refused"));
    const there = new URL((await answer.json()).to, location.origin);
    if (there.origin !== location.origin) throw new Error("elsewhere");
    return there.href;
  };
  const entry = async (place, again) => {
    // Somebody who looks at it twice has come back to a page that is done with.
    if (inCircles()) return;
    let there = again.href;
    if (subtle) there = await enter(place.dataset).catch(() => there);
    location.replace(there + location.hash);
  };

  // The portal, after an entry.
  if (location.search.includes(NAME + "=")) {
    const rest = location.search.slice(1).split("&").filter((pair) => !pair.startsWith(NAME + "=")).join("&");
    history.replaceState(history.state, "", location.pathname + (rest && "?" + rest) + location.hash);
  }
  const form = document.getElementById("login"), place = document.getElementById("entry");
  if (form && subtle) login(form);
  if (place) entry(place, document.getElementById("again"));
})();
