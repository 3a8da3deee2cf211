/** The page: thalweg/web/static/, one chunk for the first load and one for each view. */
import { gzipSync } from "node:zlib"
import { defineConfig, type Plugin } from "vite"

/** Prints what a browser fetches before it shows the first view, packed. */
function firstLoad(): Plugin {
  return {
    name: "first-load",
    generateBundle(_, bundle) {
      const first = new Set<string>()
      const follow = (name: string): void => {
        const chunk = bundle[name]
        if (first.has(name) || chunk === undefined) return
        first.add(name)
        if (chunk.type !== "chunk") return
        chunk.imports.forEach(follow)
        chunk.viteMetadata?.importedCss.forEach((css) => first.add(css))
      }
      for (const [name, chunk] of Object.entries(bundle)) if (chunk.type === "chunk" && chunk.isEntry) follow(name)
      let bytes = 0
      for (const name of first) {
        const part = bundle[name]
        bytes += gzipSync(part.type === "chunk" ? part.code : part.source).length
      }
      this.info(`first load: ${(bytes / 1000).toFixed(1)} kB gzipped in ${first.size} files`)
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
    reportCompressedSize: true,
    chunkSizeWarningLimit: 900,
  },
})
