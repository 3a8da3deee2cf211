// Lines of equal height on a grid by marching squares, and the grid made finer without new hills.
// Legend: values are y-major, values[j * x.length + i] at (x[i], y[j]); null is a value that is not there.

export type Point = [number, number]
export type Values = readonly (number | null)[]

export interface Grid {
  x: readonly number[]
  y: readonly number[]
  values: Values
}

export interface Line {
  points: Point[]
  closed: boolean
}

/** Whether a value was measured and can be drawn. */
export function known(value: number | null | undefined): value is number {
  return value !== null && value !== undefined && Number.isFinite(value)
}

// The sides of a cell: 0 bottom, 1 right, 2 top, 3 left. Its corners, as bits: 1 bottom left, 2 bottom right,
// 4 top right, 8 top left, set where the value is at least the level. A segment has the high corners on its right.
// Cases 5 and 10 are saddles: first where the middle is high (the high corners are joined), then where it is low.
const SEGMENTS = ["", "30", "01", "31", "12", "", "02", "32", "23", "20", "", "21", "13", "10", "03", ""]
const SADDLES: Record<number, [string, string]> = { 5: ["10 32", "30 12"], 10: ["03 21", "01 23"] }

/** Where lines of a level meet the grid: every corner and every edge between corners is a place with a number. */
class Places {
  readonly points = new Map<number, Point>()
  private readonly columns: number
  constructor(
    private readonly grid: Grid,
    private readonly level: number,
  ) {
    this.columns = grid.x.length
  }

  corner(i: number, j: number): number {
    const place = 3 * (j * this.columns + i)
    if (!this.points.has(place)) this.points.set(place, [this.grid.x[i], this.grid.y[j]])
    return place
  }

  /** The crossing of a side of the cell whose bottom left corner is (i, j); the cell beyond has the same. */
  crossing(i: number, j: number, side: number): number {
    const upright = side === 1 || side === 3
    const [left, bottom] = [side === 1 ? i + 1 : i, side === 2 ? j + 1 : j]
    const from = bottom * this.columns + left
    const place = 3 * from + (upright ? 2 : 1)
    if (!this.points.has(place)) {
      const { x, y, values } = this.grid
      const [a, b] = [values[from] as number, values[from + (upright ? this.columns : 1)] as number]
      const t = (this.level - a) / (b - a)
      const between = (p: number, q: number): number => p + t * (q - p)
      const point: Point = upright
        ? [x[left], between(y[bottom], y[bottom + 1])]
        : [between(x[left], x[left + 1]), y[bottom]]
      this.points.set(place, point)
    }
    return place
  }
}

/** Calls `visit` with every cell whose corners are known, counter-clockwise from the bottom left one. */
function cells(grid: Grid, visit: (i: number, j: number, corners: [number, number, number, number]) => void): void {
  const n = grid.x.length
  for (let j = 0; j + 1 < grid.y.length; j++) {
    for (let i = 0; i + 1 < n; i++) {
      const at = j * n + i
      const [a, b, c, d] = [grid.values[at], grid.values[at + 1], grid.values[at + n + 1], grid.values[at + n]]
      if (known(a) && known(b) && known(c) && known(d)) visit(i, j, [a, b, c, d])
    }
  }
}

/** The segments of a level in a cell, as pairs of sides. */
function crossed([a, b, c, d]: [number, number, number, number], level: number): number[][] {
  const code = (a >= level ? 1 : 0) + (b >= level ? 2 : 0) + (c >= level ? 4 : 0) + (d >= level ? 8 : 0)
  const pairs = SADDLES[code]?.[(a + b + c + d) / 4 >= level ? 0 : 1] ?? SEGMENTS[code]
  return pairs
    .split(" ")
    .filter(Boolean)
    .map((pair) => [Number(pair[0]), Number(pair[1])])
}

/** The lines on which the grid, linear along its edges, has this level. A cell with an unknown corner has none. */
export function lines(grid: Grid, level: number): Line[] {
  const places = new Places(grid, level)
  const segments: [number, number][] = []
  cells(grid, (i, j, corners) => {
    for (const [from, to] of crossed(corners, level)) {
      segments.push([places.crossing(i, j, from), places.crossing(i, j, to)])
    }
  })
  return joined(segments, places.points)
}

/** The borders of where the grid is at least as high, clockwise around it: filled together they leave its holes. */
export function regions(grid: Grid, level: number): Point[][] {
  const places = new Places(grid, level)
  const segments: [number, number][] = []
  const there = new Set<number>()
  const n = grid.x.length
  cells(grid, (i, j) => there.add(j * n + i))
  const beyond = (i: number, j: number, side: number): boolean => {
    const [p, q] = [i + [0, 1, 0, -1][side], j + [-1, 0, 1, 0][side]]
    return p >= 0 && p < n && there.has(q * n + p)
  }
  cells(grid, (i, j, corners) => {
    for (const [from, to] of crossed(corners, level)) {
      segments.push([places.crossing(i, j, from), places.crossing(i, j, to)])
    }
    const at = [places.corner(i, j), places.corner(i + 1, j), places.corner(i + 1, j + 1), places.corner(i, j + 1)]
    for (let side = 0; side < 4; side++) {
      if (beyond(i, j, side)) continue
      const [from, to] = [(side + 1) % 4, side]
      const [starts, ends] = [corners[from] >= level, corners[to] >= level]
      if (!starts && !ends) continue
      segments.push([starts ? at[from] : places.crossing(i, j, side), ends ? at[to] : places.crossing(i, j, side)])
    }
  })
  return joined(segments, places.points).map((line) => line.points)
}

/** Segments joined end to start; lines that end somewhere come before those that close. */
function joined(segments: readonly [number, number][], points: ReadonlyMap<number, Point>): Line[] {
  const onward = new Map<number, number[]>()
  const entered = new Set<number>()
  for (const [from, to] of segments) {
    const ways = onward.get(from)
    if (ways) ways.push(to)
    else onward.set(from, [to])
    entered.add(to)
  }
  const found: Line[] = []
  const walk = (start: number, closed: boolean): void => {
    const line: Point[] = []
    for (let at: number | undefined = start; at !== undefined;) {
      line.push(points.get(at) as Point)
      at = onward.get(at)?.pop()
      if (at === start) break
    }
    if (line.length > 1) found.push({ points: closed ? [...line, line[0]] : line, closed })
  }
  for (const from of onward.keys()) if (!entered.has(from)) walk(from, false)
  for (const [from, ways] of onward) while (ways.length > 0) walk(from, true)
  return found
}

/** The slopes at the knots of the cubic that rises and falls only where its values do (Fritsch and Butland, 1984). */
function slopes(x: readonly number[], v: Values): number[] {
  const slope = (i: number): number | null => {
    const [a, b] = [v[i], v[i + 1]]
    return known(a) && known(b) ? (b - a) / (x[i + 1] - x[i]) : null
  }
  return v.map((_, i) => {
    const [before, after] = [i > 0 ? slope(i - 1) : null, i + 1 < v.length ? slope(i) : null]
    if (before === null || after === null) return before ?? after ?? 0
    if (before * after <= 0) return 0
    const [h, k] = [x[i] - x[i - 1], x[i + 1] - x[i]]
    return (3 * (h + k)) / ((2 * k + h) / before + (k + 2 * h) / after)
  })
}

/** A row through its known values with times - 1 points more between neighbours, none beyond what both of them are. */
function finer(x: readonly number[], v: Values, times: number): (number | null)[] {
  const d = slopes(x, v)
  const row: (number | null)[] = []
  for (let i = 0; i + 1 < v.length; i++) {
    const [a, b, h] = [v[i], v[i + 1], x[i + 1] - x[i]]
    row.push(a)
    for (let k = 1; k < times; k++) {
      if (!known(a) || !known(b)) {
        row.push(null)
        continue
      }
      const t = k / times
      const rise = t * t * (3 - 2 * t)
      const cubic = a + (b - a) * rise + h * t * (1 - t) * ((1 - t) * d[i] - t * d[i + 1])
      row.push(Math.min(Math.max(cubic, Math.min(a, b)), Math.max(a, b)))
    }
  }
  row.push(v[v.length - 1])
  return row
}

function split(x: readonly number[], times: number): number[] {
  const all = x
    .slice(0, -1)
    .flatMap((a, i) => Array.from({ length: times }, (_, k) => a + (k / times) * (x[i + 1] - a)))
  return [...all, x[x.length - 1]]
}

/**
 * The grid with every interval cut in `times`, smooth between the values that were measured, which it keeps.
 *
 * Along x, then along y, by monotone cubics: inside a cell it is never above the cell"s highest corner or below its
 * lowest, so that no valley and no hill is drawn that was not measured. `log` does so in the values" logarithm.
 */
export function refined(grid: Grid, times: number, log = false): Grid {
  const { x, y } = grid
  if (times <= 1 || x.length < 2 || y.length < 2) return grid
  const inward = (v: number | null): number | null => (known(v) && (!log || v > 0) ? (log ? Math.log(v) : v) : null)
  const rows = y.map((_, j) =>
    finer(
      x,
      x.map((_, i) => inward(grid.values[j * x.length + i])),
      times,
    ),
  )
  const columns = rows[0].map((_, i) =>
    finer(
      y,
      rows.map((row) => row[i]),
      times,
    ),
  )
  const values: (number | null)[] = []
  for (let j = 0; j < columns[0].length; j++) {
    for (const column of columns) {
      const v = column[j]
      values.push(log && known(v) ? Math.exp(v) : v)
    }
  }
  return { x: split(x, times), y: split(y, times), values }
}

/** A reader of the grid"s bilinear values: null outside of it and in a cell with an unknown corner. */
export function sampler(grid: Grid): (x: number, y: number) => number | null {
  const cell = (axis: readonly number[], at: number): number => {
    if (!(at >= axis[0] && at <= axis[axis.length - 1])) return -1
    let [low, high] = [0, axis.length - 1]
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (axis[middle] <= at) low = middle
      else high = middle
    }
    return low
  }
  return (x, y) => {
    const [i, j] = [cell(grid.x, x), cell(grid.y, y)]
    if (i < 0 || j < 0 || grid.x.length < 2 || grid.y.length < 2) return null
    const at = j * grid.x.length + i
    const [a, b, c, d] = [0, 1, grid.x.length, grid.x.length + 1].map((k) => grid.values[at + k])
    if (!known(a) || !known(b) || !known(c) || !known(d)) return null
    const s = (x - grid.x[i]) / (grid.x[i + 1] - grid.x[i])
    const t = (y - grid.y[j]) / (grid.y[j + 1] - grid.y[j])
    return (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * d)
  }
}

/** Which band a value is in: how many levels are at or below it; -1 where it is unknown. */
export function bandOf(value: number | null, levels: readonly number[]): number {
  if (!known(value)) return -1
  let [low, high] = [0, levels.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (levels[middle] <= value) low = middle + 1
    else high = middle
  }
  return low
}
