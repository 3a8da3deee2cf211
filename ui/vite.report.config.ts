/** The report: thalweg/web/static/report.html, the same page as one file without a single request. */
import { defineConfig, type Plugin } from "vite"

/** Puts the script and the style into the page, and takes their files away. */
function oneFile(): Plugin {
  return {
    name: "one-file",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        const page = bundle["index.html"]
        if (page?.type !== "asset") throw new Error("the page was not built")
        let html = String(page.source).replace(/<link rel="icon"[^>]*>\s*/, "")
        for (const [name, part] of Object.entries(bundle)) {
          if (part.type === "chunk") {
            const script = `<script type="module">${part.code.trim().replaceAll("</script", "<\\/script")}</script>`
            html = html
              .replace(/<script type="module"[^>]*><\/script>\s*/, "")
              .replace("</body>", () => `${script}\n</body>`)
          } else if (name.endsWith(".css")) {
            html = html.replace(/<link rel="stylesheet"[^>]*>/, () => `<style>${String(part.source).trim()}</style>`)
          }
          delete bundle[name]
        }
        this.emitFile({ type: "asset", fileName: "report.html", source: html })
      },
    },
  }
}

export default defineConfig({
  base: "./",
  plugins: [oneFile()],
  publicDir: false,
  build: {
    outDir: process.env.OUT ?? "../thalweg/web/static",
    emptyOutDir: false,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    chunkSizeWarningLimit: 2000,
    rolldownOptions: { output: { codeSplitting: false } },
  },
})
