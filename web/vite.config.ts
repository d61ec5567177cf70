import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` serves the page by itself and sends calls to a local stack.
const STACK = process.env.PINGVAS_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  resolve: { alias: { "@": new URL("./src", import.meta.url).pathname } },
  build: {
    target: "es2023",
    // Inlined files would need `data:` in the Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The largest chunk is Swagger UI's, which the page of the API's documentation alone loads.
    chunkSizeWarningLimit: 1600,
    rollupOptions: { input: ["index.html", "docs.html"] },
  },
  server: { proxy: { "^/(pingvas\\.|session)": STACK } },
  test: { environment: "node" },
});
