// What sends requests in a page and in its workers bears the token of that page. This stands in the page's script and before the
// script of every worker that is loaded; a worker that is made of a blob gets it from whoever makes it. `page` is what only a
// window has. It is sent as one line where another script follows: every statement ends with a semicolon or a brace.
(function senders(token, patterns, page) {
  "use strict";
  const NAME = ".vestibule", HEADER = "vestibule-page", own = self.origin, host = new URL(own === "null" ? location.href : own).host;
  const { apply, construct } = Reflect;
  const wrap = (object, name, handler) => {
    let known;
    while (object && !(known = Object.getOwnPropertyDescriptor(object, name))) object = Object.getPrototypeOf(object);
    if (known && known.value) Object.defineProperty(object, name, { ...known, value: new Proxy(known.value, handler) });
  };

  // Paths of which reads bear the token too, as patterns: * is within a segment, ** any number of segments.
  const part = (text) => text === "/**" ? "(/.*)?" : text === "*" || text === "{user}" ? "[^/]*" : "\\" + text;
  const reads = patterns.map((pattern) => new RegExp("^" + pattern.replace(/\/\*\*|\{user\}|[.*+?^$(){}|[\]\\]/g, part) + "/?$"));
  const readable = (path) => { try { return decodeURI(path); } catch { return path; } };
  const bears = (method, url) => !/^(GET|HEAD|OPTIONS|TRACE)$/i.test(method) || reads.some((one) => one.test(readable(url.pathname)));

  // The name of one action: what is sent twice under one name is done once.
  const action = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_");
  };
  const fresh = () => token + "." + action();
  const address = (url) => { try { return new URL(url, page ? document.baseURI : location.href); } catch { return null; } };
  const home = (url) => url && url.origin === own;
  const added = (url) => {
    const [, start, mark] = /^([^#]*)(.*)$/s.exec(url.href);
    return start + (url.search ? "&" : start.endsWith("?") ? "" : "?") + NAME + "=" + fresh() + mark;
  };
  const removed = (text) => !text.includes(NAME + "=") ? text : text.replace(/([?&])\.vestibule=[^&#]*&?/g, "$1").replace(/[?&](?=#|$)/, "");

  // fetch: the request is made first, just as fetch itself would make it.
  wrap(self, "fetch", {
    apply(target, scope, args) {
      const [input, init] = args;
      try {
        const given = input instanceof Request ? input : null, url = address(given ? given.url : String(input));
        const method = String((init && init.method) || (given ? given.method : "GET"));
        if (home(url) && bears(method, url)) {
          // Such a request may set no header of ours.
          const silent = ((init && init.mode) || (given && given.mode)) === "no-cors";
          const request = !silent ? new Request(input, init)
            : given ? new Request(added(url), new Request(given, init)) : new Request(added(url), init);
          if (!silent && !request.headers.has(HEADER)) request.headers.set(HEADER, fresh());
          const answer = apply(target, scope, [request, ...args.slice(2)]);
          return page ? answer.then(page.fetched) : answer;
        }
      } catch { /* what is wrong with the arguments, fetch tells itself */ }
      return apply(target, scope, args);
    },
  });

  const opened = new WeakMap(), xhr = self.XMLHttpRequest && XMLHttpRequest.prototype;
  wrap(xhr, "open", {
    apply(target, one, args) {
      const result = apply(target, one, args), url = address(String(args[1]));
      opened.set(one, home(url) && bears(String(args[0]), url));
      return result;
    },
  });
  wrap(xhr, "send", {
    apply(target, one, args) {
      if (opened.get(one)) {
        opened.delete(one);
        try {
          apply(xhr.setRequestHeader, one, [HEADER, fresh()]);
          if (page) page.sends(one);
        } catch { /* send tells it */ }
      }
      return apply(target, one, args);
    },
  });

  // A worker is a page of its own. One that is made of a blob is led by its maker, for the guard never sees its script.
  const blobs = new Map(), create = URL.createObjectURL;
  wrap(URL, "createObjectURL", {
    apply(target, scope, args) {
      const url = apply(target, scope, args);
      if (args[0] instanceof Blob) blobs.set(url, { blob: args[0] });
      return url;
    },
  });
  wrap(URL, "revokeObjectURL", {
    apply(target, scope, args) {
      const { led } = blobs.get(args[0]) || {};
      blobs.delete(args[0]);
      if (led) apply(target, scope, [led]);
      return apply(target, scope, args);
    },
  });
  const text = apply(Function.prototype.toString, senders, []).replace(/\n/g, " ");
  const led = (url) => {
    const known = blobs.get(url);
    if (!known) return null;
    const before = "(" + text + ")(" + JSON.stringify(token) + ", " + JSON.stringify(patterns) + "); ";
    known.led = known.led || apply(create, URL, [new Blob([before, known.blob], { type: known.blob.type })]);
    return known.led;
  };

  // What can set no header bears the token in the query, which the guard takes off again.
  const made = (name, goes, ends) => {
    wrap(self, name, {
      construct(target, args, kind) {
        const given = !args.length || self.TrustedScriptURL && args[0] instanceof TrustedScriptURL ? null : String(args[0]);
        const url = given === null ? null : address(given), here = url && goes(url) ? added(url) : name.endsWith("Worker") && led(given);
        const result = construct(target, here ? [here, ...args.slice(1)] : args, kind);
        if (here && page && ends) result.addEventListener(ends, page.ended);
        return result;
      },
    });
    const prototype = self[name] && self[name].prototype;
    if (!prototype) return;
    prototype.constructor = self[name];
    const known = Object.getOwnPropertyDescriptor(prototype, "url");
    if (known) Object.defineProperty(prototype, "url", { ...known, get: new Proxy(known.get, {
      apply: (target, one, args) => removed(apply(target, one, args)),
    }) });
  };
  made("WebSocket", (url) => url.host === host && /^(ws|http)s?:$/.test(url.protocol), "close");
  made("EventSource", (url) => home(url) && bears("GET", url), "error");
  // Each tab's worker must be led to where reads must be; what tabs share goes by its address.
  made("Worker", (url) => /^http/.test(url.protocol) && home(url) && bears("GET", url));
  made("SharedWorker", () => false);
  return { NAME, wrap, bears, fresh, address, home, added, removed, renew(fresh) { token = fresh; } };
})
