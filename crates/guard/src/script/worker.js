// What stands before the script of a worker: whatever sends requests there bears the token of that script, as in a window. It may
// be a module or not, and is sent as one line: every statement ends with a semicolon or a brace.
((token, patterns) => {
  "use strict";
  const NAME = ".vestibule", HEADER = "vestibule-page", own = self.origin, host = new URL(own).host;
  const { apply, construct } = Reflect;
  const wrap = (object, name, handler) => {
    while (object && !Object.hasOwn(object, name)) object = Object.getPrototypeOf(object);
    const known = object && Object.getOwnPropertyDescriptor(object, name);
    if (known && known.value) Object.defineProperty(object, name, { ...known, value: new Proxy(known.value, handler) });
  };
  const part = (text) => text === "/**" ? "(/.*)?" : text === "*" || text === "{user}" ? "[^/]*" : "\\" + text;
  const reads = patterns.map((pattern) => new RegExp("^" + pattern.replace(/\/\*\*|\{user\}|[.*+?^$(){}|[\]\\]/g, part) + "/?$"));
  const readable = (path) => { try { return decodeURI(path); } catch { return path; } };
  const bears = (method, url) => !/^(GET|HEAD|OPTIONS|TRACE)$/i.test(method) || reads.some((one) => one.test(readable(url.pathname)));
  const action = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_");
  };
  const fresh = () => token + "." + action();
  const address = (url) => { try { return new URL(url, location.href); } catch { return null; } };
  const home = (url) => url && url.origin === own;
  const added = (url) => {
    const [, start, mark] = /^([^#]*)(.*)$/s.exec(url.href);
    return start + (url.search ? "&" : start.endsWith("?") ? "" : "?") + NAME + "=" + fresh() + mark;
  };
  const removed = (text) => !text.includes(NAME + "=") ? text : text.replace(/([?&])\.vestibule=[^&#]*&?/g, "$1").replace(/[?&](?=#|$)/, "");
  wrap(self, "fetch", {
    apply(target, scope, args) {
      const [input, init] = args;
      try {
        const given = input instanceof Request ? input : null, url = address(given ? given.url : String(input));
        const method = String((init && init.method) || (given ? given.method : "GET"));
        if (home(url) && bears(method, url)) {
          const silent = ((init && init.mode) || (given && given.mode)) === "no-cors";
          const request = !silent ? new Request(input, init)
            : given ? new Request(added(url), new Request(given, init)) : new Request(added(url), init);
          if (!silent && !request.headers.has(HEADER)) request.headers.set(HEADER, fresh());
          return apply(target, scope, [request, ...args.slice(2)]);
        }
      } catch { }
      return apply(target, scope, args);
    },
  });
  if (self.XMLHttpRequest) {
    const opened = new WeakMap(), xhr = XMLHttpRequest.prototype;
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
          try { apply(xhr.setRequestHeader, one, [HEADER, fresh()]); } catch { }
        }
        return apply(target, one, args);
      },
    });
  }
  const made = (name, goes) => {
    wrap(self, name, {
      construct(target, args, kind) {
        const url = typeof args[0] === "string" || args[0] instanceof URL ? address(String(args[0])) : null;
        return construct(target, url && goes(url) ? [added(url), ...args.slice(1)] : args, kind);
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
  made("WebSocket", (url) => url.host === host && /^(ws|http)s?:$/.test(url.protocol));
  for (const name of ["EventSource", "Worker"]) made(name, (url) => home(url) && bears("GET", url));
})
