// SPDX-License-Identifier: Apache-2.0

package picture

// drawingStyle is the style of a picture: light, dark and for paper. Every
// meaning of a color is also a pattern, a line or a word.
const drawingStyle = `
.page{fill:#fff}
.lane{fill:#f6f8fa;stroke:#d0d7de}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1f2328}
text.bold{font-weight:600}
text.code{font:11px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
text.small{font-size:11px;fill:#57606a}
text.end{text-anchor:end}
text.middle{text-anchor:middle}
text.number{font-weight:700;fill:#fff}
text.skipped{fill:#656d76}
.place{fill:#fff;stroke:#57606a;stroke-width:1.5}
.chain{stroke-width:1.5}
.meshvm{fill:#dafbe1;stroke:#1a7f37}
.istio{fill:#ddf4ff;stroke:#0969da}
.kubevirt{fill:#fff1e5;stroke:#bc4c00}
.other{fill:#fff;stroke:#57606a}
.chain.skipped{fill:#eaeef2;stroke:#8c959f;stroke-dasharray:4 3}
.fill-meshvm{fill:#1a7f37}
.stroke-istio{stroke:#0969da;stroke-width:1.5;fill:none}
.fill-kubevirt{fill:#bc4c00}
.stroke-other{stroke:#57606a;fill:none}
.path{fill:none;stroke:#1f2328;stroke-width:2.5;stroke-linejoin:round}
.dashed{stroke-dasharray:7 5}
.badge,.head{fill:#1f2328}
.diamond{fill:#fff;stroke:#1f2328;stroke-width:2}
.cross{fill:none;stroke:#cf222e;stroke-width:4;stroke-linecap:round}
@media screen and (prefers-color-scheme:dark){
.page{fill:#0d1117}
.lane{fill:#161b22;stroke:#3d444d}
text{fill:#e6edf3}
text.small,text.skipped{fill:#9da7b3}
text.number{fill:#0d1117}
.place{fill:#0d1117;stroke:#9da7b3}
.meshvm{fill:#12361f;stroke:#3fb950}
.istio{fill:#0c2d4d;stroke:#58a6ff}
.kubevirt{fill:#3d2314;stroke:#f0883e}
.other{fill:#0d1117;stroke:#9da7b3}
.chain.skipped{fill:#21262d;stroke:#6e7681}
.fill-meshvm{fill:#3fb950}
.stroke-istio{stroke:#58a6ff}
.fill-kubevirt{fill:#f0883e}
.stroke-other{stroke:#9da7b3}
.path{stroke:#e6edf3}
.badge,.head{fill:#e6edf3}
.diamond{fill:#0d1117;stroke:#e6edf3}
.cross{stroke:#ff7b72}
}
`

// pageStyle is the style of a page around its pictures.
const pageStyle = `
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;margin:16px auto;padding:0 16px;max-width:1248px;color:#1f2328;background:#fff}
code,dd.code{font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
h1{font-size:22px;margin:8px 0}
h2{font-size:18px;margin:24px 0 4px;overflow-wrap:anywhere}
figure{margin:12px 0}
svg{display:block;max-width:100%;height:auto}
.narrow{display:none}
details{margin:4px 0;border:1px solid #d0d7de;border-radius:6px;padding:4px 10px}
summary{cursor:pointer}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 12px;margin:6px 0}
dt{font-weight:600}
dd{margin:0}
@media (max-width:760px){.wide{display:none}.narrow{display:block}dl{grid-template-columns:1fr}}
@media print{.wide{display:block}.narrow{display:none}details{break-inside:avoid}figure{break-inside:avoid}}
@media screen and (prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}details{border-color:#3d444d}}
`
