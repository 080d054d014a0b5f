// How the demo page is built, and where its requests go while one works on it.

import { defineConfig } from "vite";

export default defineConfig({
  build: { target: "es2022", sourcemap: false, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: {
    // `npm run dev` beside a server on its default port.
    proxy: {
      "/connection": { target: "ws://127.0.0.1:8000", ws: true },
      "/demo": "http://127.0.0.1:8000",
    },
  },
});
