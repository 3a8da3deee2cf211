/** The page: thalweg/web/static/, a chunk for the frame, one for each view, and one for three.js. */
import { gzipSync } from "node:zlib"
import { defineConfig, type Plugin } from "vite"

/** Prints what a browser fetches for all views, packed, but for the surfaces in space. */
function firstLoad(): Plugin {
  return {
    name: "first-load",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        let bytes = 0
        for (const part of Object.values(bundle)) {
          if (part.type === "chunk" && part.moduleIds.some((id) => id.includes("/node_modules/three/"))) continue
          bytes += gzipSync(part.type === "chunk" ? part.code : part.source).length
        }
        this.info(`without three.js the page is ${(bytes / 1000).toFixed(1)} kB gzipped`)
      },
    },
  }
}

export default defineConfig({
  base: "./",
  plugins: [firstLoad()],
  server: { proxy: { "/api": "http://127.0.0.1:8765" } },
  build: {
    outDir: process.env.OUT ?? "../thalweg/web/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
})
