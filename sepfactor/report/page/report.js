const report = JSON.parse(document.getElementById("report").textContent);
const charts = JSON.parse(document.getElementById("charts").textContent);

// Colours are CSS variables, so charts follow the page into dark mode and onto paper by themselves.
const style = {
  background: null,
  font: "system-ui, sans-serif",
  view: { stroke: null },
  axis: {
    labelColor: "var(--soft)", titleColor: "var(--soft)", titleFontWeight: "normal",
    labelFontSize: 11, titleFontSize: 11, labelSeparation: 4,
    gridColor: "var(--line)", domainColor: "var(--faint)", tickColor: "var(--faint)",
  },
  legend: { labelColor: "var(--ink)", labelFontSize: 12, orient: "top" },
};
const options = { renderer: "svg", actions: false, ast: true, tooltip: { disableDefaultStyle: true } };
const LONG_LABELS = ["errors", "spectrum"];
const PAPER_WIDTH = 690; // of A4 between its margins, in pixels
const views = new Map();

async function draw(name, spec) {
  const place = document.getElementById(`chart-${name}`);
  if (!place) return;
  const columns = place.clientWidth > 480 ? 6 : LONG_LABELS.includes(name) ? 1 : 3;
  const config = { ...style, legend: { ...style.legend, columns } };
  views.set(name, (await window.vegaEmbed(place, spec, { ...options, config })).view);
}

// On paper, charts as wide as it is, or their letters would shrink with them, and explanations unfolded.
function watchPrinting() {
  const help = document.querySelector("#layers details");
  let wasOpen = false;
  addEventListener("beforeprint", () => {
    for (const view of views.values()) view.width(PAPER_WIDTH).run();
    if (help) [wasOpen, help.open] = [help.open, true];
  });
  addEventListener("afterprint", () => {
    dispatchEvent(new Event("resize")); // to which Vega answers by measuring the page
    if (help) help.open = wasOpen;
  });
}

function isMarked(layer) {
  return layer.rank.length === 1;
}

function rowsOf(layer) {
  const rows = [];
  for (const [scheme, points] of Object.entries(layer.spectrum ?? {})) {
    for (const [rank, error] of points) {
      rows.push({ scheme, rank, error, shown: `${(100 * error).toPrecision(3)} %` });
    }
  }
  if (isMarked(layer)) rows.push({ rank: layer.rank[0], chosen: `taken: ${layer.scheme} ${layer.rank[0]}` });
  return rows;
}

// Ranks are whole numbers: all of them where they are few, else powers of two.
function ticks(most) {
  if (most <= 6) return Array.from({ length: most }, (_, i) => i + 1);
  return Array.from({ length: Math.ceil(Math.log2(most)) + 1 }, (_, i) => 2 ** i);
}

async function showSpectrum(number) {
  const spec = structuredClone(charts.spectrum);
  const layer = report.layers[number];
  spec.data.values = rowsOf(layer);
  const most = Math.max(...spec.data.values.map((row) => row.rank));
  for (const { encoding } of spec.layer) encoding.x.axis.values = ticks(most);
  if (!isMarked(layer)) spec.layer.length = 1; // the curves alone
  else if (layer.rank[0] ** 2 > most) Object.assign(spec.layer[2].mark, { align: "right", dx: -4 });
  spec.layer[0].encoding.color.legend = { values: Object.keys(layer.spectrum) };
  await draw("spectrum", spec);
}

function watchSpectrum() {
  const pick = document.getElementById("pick");
  if (!pick) return;
  // The layer that took most of the time is the one worth looking at first.
  const costs = [...pick.options].map((option) => report.layers[option.value].milliseconds_before ?? 0);
  pick.selectedIndex = costs.indexOf(Math.max(...costs));
  pick.addEventListener("change", () => showSpectrum(pick.value));
  for (const button of document.querySelectorAll(".pick")) {
    button.addEventListener("click", () => {
      pick.value = button.dataset.layer;
      showSpectrum(pick.value);
      document.getElementById("spectrum").scrollIntoView({ behavior: "smooth" });
    });
  }
  return showSpectrum(pick.value);
}

function watchTable() {
  const body = document.querySelector("#layers tbody");
  if (!body) return;
  const rows = [...body.rows];
  const find = document.getElementById("find"), show = document.getElementById("show");
  const heads = [...document.querySelectorAll("#layers thead th")];

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => text.includes(word)) && (!show.value || row.dataset.is === show.value));
      shown += !row.hidden;
    }
    document.getElementById("found").textContent = `${shown} of ${rows.length}`;
  }

  // Numbers as numbers, words as words, and what is unknown always at the end.
  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const difference = Number(a) - Number(b);
    return sign * (Number.isNaN(difference) ? a.localeCompare(b, undefined, { numeric: true }) : difference);
  }

  heads.forEach((head, column) => {
    head.firstElementChild.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const keys = new Map(rows.map((row) => [row, row.cells[column].dataset.by]));
      body.append(...[...rows].sort((a, b) => compare(keys.get(a), keys.get(b), falls ? -1 : 1)));
    });
  });
  find.addEventListener("input", filter);
  show.addEventListener("change", filter);
}

for (const image of document.querySelectorAll("img[data-picture]")) {
  image.src = report.pictures[image.dataset.picture][image.dataset.part];
}
document.getElementById("save").addEventListener("click", (event) => {
  const text = JSON.stringify(report, null, 2);
  event.currentTarget.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
});
watchTable();
watchPrinting();
const { spectrum, ...others } = charts;
await Promise.all([...Object.entries(others).map(([name, spec]) => draw(name, spec)), spectrum && watchSpectrum()]);
document.documentElement.dataset.ready = "yes";
