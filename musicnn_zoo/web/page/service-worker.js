/* global SITE -- {version, files: [path, …]}: stands in front of this when the site is written */
/** Keeps the whole site, so that it works without a network; one cache a version. */

const KEPT = `musicnn-zoo ${SITE.version}`;

self.addEventListener("install", (event) => {
  const fill = async () => {
    const cache = await caches.open(KEPT);
    const files = SITE.files.map((path) => new Request(path, { cache: "no-cache" }));
    await cache.addAll(files);
    await self.skipWaiting();
  };
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  const clean = async () => {
    const names = await caches.keys();
    const old = names.filter((name) => name.startsWith("musicnn-zoo ") && name !== KEPT);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method !== "GET" || !url.startsWith(self.registration.scope)) return;
  const answer = async () => {
    const cache = await caches.open(KEPT);
    const path = url === self.registration.scope ? "index.html" : event.request;
    return (await cache.match(path, { ignoreSearch: true })) ?? fetch(event.request);
  };
  event.respondWith(answer());
});
