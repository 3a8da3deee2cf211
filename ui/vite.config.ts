/** The page: thalweg/web/static/, a chunk for the frame, one for each view, and one for three.js. */
import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
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

/** Writes from which sources the page was built, so that a test sees a stale one without building. */
function sources(): Plugin {
  const made = ["node_modules", "fixtures"]
  return {
    name: "sources",
    generateBundle() {
      const files = readdirSync(".", { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).replaceAll("\\", "/"))
        .filter((name) => !made.some((folder) => name.startsWith(`${folder}/`)))
        .sort()
      const whole = createHash("sha256")
      for (const name of files) whole.update(`${name}\0`).update(readFileSync(name)).update("\0")
      this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${whole.digest("hex")}\n` })
    },
  }
}

export default defineConfig({
  base: "./",
  plugins: [firstLoad(), sources()],
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
