// The page guard's script: whatever sends requests to the application itself bears the token of this page. It runs once in a
// window, before anything else; where it runs again (a page that a script put in place of another), only the token changes.
// What an application can see of the functions it meets stays as it is: they are proxies of the browser's own.
(() => {
  "use strict";
  const PLACE = "/.vestibule/";
  const element = document.currentScript, page = element && element.dataset.page;
  if (!page) return;
  element.remove();
  const key = Symbol.for("vestibule");
  if (window[key]) return window[key](page);

  const { apply } = Reflect, original = window.fetch, own = self.origin;
  const attribute = (node, name) => apply(Element.prototype.getAttribute, node, [name]);
  const patterns = (element.dataset.reads || "").split("\n").filter(Boolean);
  const { NAME, wrap, bears, fresh, address, home, added, removed, renew } = SENDERS(page, patterns, {
    fetched: (answer) => refused(answer),
    sends: (one) => one.addEventListener("loadend", () => {
      const word = /^vestibule-refused: *(\S+)/im.exec(one.getAllResponseHeaders());
      if (word) tell(word[1]);
    }, { once: true }),
    ended: () => setTimeout(check, 300),
  });
  Object.defineProperty(window, key, { value: renew });

  if (location.search.includes(NAME + "="))
    history.replaceState(history.state, "", removed(location.pathname + location.search) + location.hash);

  // What can set no header bears the token in the query, which the guard takes off again.
  wrap(Navigator.prototype, "sendBeacon", {
    apply(target, self, args) {
      const url = args.length ? address(String(args[0])) : null;
      return apply(target, self, home(url) ? [added(url), ...args.slice(1)] : args);
    },
  });
  wrap(window, "open", {
    apply(target, self, args) {
      const url = args[0] === undefined || args[0] === "" ? null : address(String(args[0]));
      return apply(target, self, home(url) && bears("GET", url) ? [added(url), ...args.slice(1)] : args);
    },
  });

  // Forms. The fields that the guard put in are for browsers without scripts: they are taken out again before the application's
  // own scripts can meet them, and each form's token is put into what is sent, the moment it is collected.
  const names = new WeakMap();
  let submitting = null, direct = null;
  const take = (field) => {
    if (field.form && !names.has(field.form)) names.set(field.form, field.value);
    field.remove();
  };
  const takeAll = () => document.querySelectorAll(`input[name="${NAME}"]`).forEach(take);
  // A browser asks for a manifest without cookies, as a stranger, unless the page says otherwise.
  const knows = (link) => {
    const url = link.rel === "manifest" && link.crossOrigin === null && address(link.href);
    if (!home(url)) return;
    link.crossOrigin = "use-credentials";
    if (bears("GET", url)) link.href = added(url);
  };
  const observer = new MutationObserver((records) => {
    for (const { addedNodes } of records)
      for (const node of addedNodes)
        if (node instanceof HTMLInputElement && node.name === NAME) take(node);
        else if (node instanceof HTMLLinkElement) knows(node);
  });
  observer.observe(document, { childList: true, subtree: true });
  document.addEventListener("DOMContentLoaded", () => { observer.disconnect(); takeAll(); });

  // An event in a shadow tree forgets its target when it is over.
  const submits = (event) => { submitting = { event, form: event.target, button: event.submitter }; };
  const collects = (event) => {
    const form = event.target, data = event.formData, last = submitting;
    const sent = direct === form || last && last.form === form && !last.event.eventPhase && !last.event.defaultPrevented;
    const written = data.get(NAME), button = direct === form ? null : last && last.button;
    if (sent) submitting = null;
    data.delete(NAME);
    if (!sent) return;
    const of = (name) => button && button.hasAttribute("form" + name) ? attribute(button, "form" + name) : attribute(form, name);
    const url = address(of("action") || document.URL), method = /^post$/i.test(of("method") || "") ? "POST" : "GET";
    if (!home(url) || !bears(method, url)) return;
    if (!names.has(form)) names.set(form, written || fresh());
    const all = [...data];
    for (const [name] of all) data.delete(name);
    data.append(NAME, names.get(form));
    for (const [name, value] of all) data.append(name, value);
  };
  wrap(HTMLFormElement.prototype, "submit", {
    apply(target, self, args) {
      direct = self;
      try { return apply(target, self, args); } finally { direct = null; }
    },
  });

  // Links bear the token only where reads must, and only while they are followed.
  const follows = (event) => {
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement || node instanceof HTMLAreaElement);
    if (!link || event.defaultPrevented || !link.href) return;
    const url = address(link.href), before = attribute(link, "href");
    if (!home(url) || url.hash && url.href.split("#")[0] === document.URL.split("#")[0] || !bears("GET", url)) return;
    link.setAttribute("href", added(url));
    setTimeout(() => link.setAttribute("href", before));
  };
  // It comes after all others, so that a router of the application's own meets the link as it is.
  const last = (event) => {
    window.removeEventListener(event.type, follows);
    window.addEventListener(event.type, follows);
  };
  // So does whatever else moves the page: a script by location, a refresh, a link that is in no page. The application comes first:
  // what it takes over stays in this page.
  const taken = new WeakSet();
  const moves = (event) => {
    const url = address(event.destination.url), { navigationType: history, downloadRequest: name } = event;
    if (!event.cancelable || event.defaultPrevented || taken.has(event) || event.hashChange || event.formData
      || event.destination.sameDocument || !/^(push|replace)$/.test(history)
      || !home(url) || !bears("GET", url) || url.search.includes(NAME + "=")) return;
    const info = event.info, state = event.destination.getState();
    event.preventDefault();
    setTimeout(() => {
      if (name === null) return navigation.navigate(added(url), { history, info, state });
      const link = document.createElement("a");
      link.href = added(url);
      link.download = name;
      link.click();
    });
  };
  if (patterns.length && window.navigation) {
    wrap(window.NavigateEvent.prototype, "intercept", {
      apply(target, self, args) {
        const result = apply(target, self, args);
        taken.add(self);
        return result;
      },
    });
    // Behind every listener of the application's.
    const adds = navigation.addEventListener, behind = () => {
      navigation.removeEventListener("navigate", moves);
      apply(adds, navigation, ["navigate", moves]);
    };
    const value = new Proxy(adds, {
      apply(target, self, args) {
        const result = apply(target, self, args);
        if (self === navigation) behind();
        return result;
      },
    });
    Object.defineProperty(window.Navigation.prototype, "addEventListener", { value, configurable: true, writable: true });
    behind();
  }
  const listen = (root) => {
    root.addEventListener("submit", submits, true);
    root.addEventListener("formdata", collects, true);
  };
  const listenAll = () => {
    listen(window);
    if (patterns.length) for (const kind of ["click", "auxclick"]) window.addEventListener(kind, last, true);
    window.addEventListener("pageshow", shows);
  };
  wrap(Element.prototype, "attachShadow", {
    apply(target, self, args) {
      const root = apply(target, self, args);
      listen(root);
      return root;
    },
  });
  // document.open() takes all listeners away.
  for (const name of ["open", "write", "writeln"]) wrap(Document.prototype, name, {
    apply(target, self, args) {
      const result = apply(target, self, args);
      if (self === document) listenAll();
      return result;
    },
  });

  // The end of the session: told by an answer, or found out when the page is shown again or a stream ends.
  let checked = 0, banner = null;
  const refused = (answer) => {
    const word = answer.headers.get("vestibule-refused");
    if (word) tell(word);
    return answer;
  };
  const shows = (event) => { if (event.persisted) check(); };
  const check = () => {
    if (Date.now() - checked < 2000) return;
    checked = Date.now();
    apply(original, window, [PLACE + "alive", { method: "HEAD", cache: "no-store", credentials: "same-origin", redirect: "manual" }])
      .then(refused).catch(() => {});
  };
  const tell = (word) => {
    if (banner || !/^(signed-off|other-session|expired-page)$/.test(word) || !document.body) return;
    const japanese = /^ja\b/.test(navigator.language);
    const text = word === "expired-page" ? ["This page is too old: load it again.", "このページは期限切れです。再読み込みしてください。"]
      : ["You are signed off. Sign in, then load this page again.", "サインオフしました。サインインしてから、このページを再読み込みしてください。"];
    const link = document.createElement("a");
    banner = document.createElement("div");
    banner.setAttribute("role", "alert");
    banner.lang = japanese ? "ja" : "en";
    banner.style.cssText = "all:initial;position:fixed;z-index:2147483647;top:0;left:0;right:0;padding:.75em 1em;" +
      "font:1rem/1.4 system-ui,sans-serif;background:#7a1c1c;color:#fff;text-align:center";
    link.style.cssText = "color:#fff;text-decoration:underline;margin-left:1em";
    link.href = own + PLACE + "login";
    link.target = "_blank";
    link.textContent = japanese ? "サインイン" : "Sign in";
    banner.append(text[japanese ? 1 : 0]);
    if (word !== "expired-page") banner.append(link);
    document.body.append(banner);
  };
  listenAll();
})();
