import type {Place, Running} from './place.ts'

/** One figure beside its baseline, as it is printed and kept. `ours` and `baseline` are medians of `rounds`. */
export type Row = {
  figure: string
  against: string
  unit: string
  ours: number
  baseline: number
  ratio: number
  target: string
  /** null: shown, and not held to anything. */
  met: boolean | null
  /** What the figure does not show. */
  leavesOut: string
  rounds: {ours: number[]; baseline: number[]}
  /** Shares of a core that the server and the generator used. */
  busy?: {ours: Busy; baseline: Busy}
}

/** What something costs by how much there is of what may make it grow: `at` 10,000 of them, and so on. */
export type Growth = {what: string; unit: string; of: string; at: {[count: string]: number}}

type Busy = {server: number; generator: number}

export type Bench = {
  /** Small data and short rounds, to see that it works; what comes out means nothing. */
  quick: boolean
  /** How often each side is measured. */
  rounds: number
  place: Place
  /** Shows what is under way. */
  say(what: string): void
}

/** `name` is what `--only` takes. */
export type Figure = {name: string; measure(bench: Bench): Promise<(Row | Growth)[]>}

/**
 * Measures all sides in turn, each round in the other order, so what disturbs the machine for a while disturbs all sides
 * alike. Before, one round that does not count; not where each round begins with new processes (`afresh`).
 */
export const inTurn = async <Side extends string, Sample>(
  {rounds, quick}: Bench,
  sides: Record<Side, () => Promise<Sample>>,
  {afresh = false} = {},
): Promise<Record<Side, Sample[]>> => {
  const names = Object.keys(sides) as Side[]
  const samples = Object.fromEntries(names.map((name) => [name, [] as Sample[]])) as Record<Side, Sample[]>
  for (let round = quick || afresh ? 0 : -1; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const sample = await sides[name]()
      if (round >= 0) samples[name].push(sample)
    }
  }
  return samples
}

export const median = (numbers: readonly number[]): number => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

type Target =
  /** Of what is better the more there is. */
  | {atLeast: number}
  /** Of what is better the less there is. */
  | {atMost: number}
  | {shownOnly: true}

export const judge = ({
  ours,
  baseline,
  ...about
}: {
  figure: string
  against: string
  unit: string
  leavesOut: string
  ours: readonly number[]
  baseline: readonly number[]
} & Target): Row => {
  const ratio = median(ours) / median(baseline)
  const {figure, against, unit, leavesOut} = about
  return {
    figure,
    against,
    unit,
    leavesOut,
    ours: median(ours),
    baseline: median(baseline),
    ratio,
    target: 'atLeast' in about ? `≥ ${about.atLeast}` : 'atMost' in about ? `≤ ${about.atMost}` : '',
    met: 'atLeast' in about ? ratio >= about.atLeast : 'atMost' in about ? ratio <= about.atMost : null,
    rounds: {ours: [...ours], baseline: [...baseline]},
  }
}

/** What a server did in a round, what one piece of it cost the server, and the shares of a core that it and the generator used. */
export type Work = {perSecond: number; cpuMicros: number; busy: number; generatorBusy: number}

/** Begins to watch a server at work. In the end it is told how much was done. */
export const beginWork = async (running: Pick<Running, 'cpuMs'>): Promise<(count: number) => Promise<Work>> => {
  const cpuBefore = await running.cpuMs()
  const generator = process.cpuUsage()
  const began = performance.now()
  return async (count) => {
    const wallMs = performance.now() - began
    const cpuMs = (await running.cpuMs()) - cpuBefore
    const {user, system} = process.cpuUsage(generator)
    return {
      perSecond: (count * 1_000) / wallMs,
      cpuMicros: (cpuMs * 1_000) / count,
      busy: cpuMs / wallMs,
      generatorBusy: (user + system) / 1_000 / wallMs,
    }
  }
}

const busyOf = (side: readonly Work[]): Busy => ({
  server: median(side.map(({busy}) => busy)),
  generator: median(side.map(({generatorBusy}) => generatorBusy)),
})
const rateOf = (side: readonly Work[]): number => median(side.map(({perSecond}) => perSecond))
const isGeneratorLimit = (side: readonly Work[]): boolean => {
  const {server, generator} = busyOf(side)
  return generator > 0.9 && server < 0.9
}

/** Works as fast as it goes, or so much a second. */
type Side = (perSecond?: number) => Promise<Work>

/** Rates that are this close are one load. */
const SAME_LOAD = 0.9
/** Of what the slower side reaches: the pace that both can keep. */
const PACE = 0.8

/**
 * How much is done, by the clock. Where the generator was the limit of a side before the server was, what counts is what
 * it costs the server, at the same load: at a pace of both, unless the loads were the same anyway; the clock is shown then.
 */
export const compareWork = async (
  bench: Bench,
  {of, ...about}: {figure: string; leavesOut: string /** Of what it is so many. */; of: string},
  ours: Side,
  baselines: ({against: string; side: Side} & Target)[],
): Promise<Row[]> => {
  const all = (perSecond?: number) =>
    inTurn(
      bench,
      Object.fromEntries([ours, ...baselines.map(({side}) => side)].map((side, n) => [n, () => side(perSecond)])),
    )
  const fast = await all()
  const sides = Object.values(fast)
  const [slowest, fastest] = [Math.min(...sides.map(rateOf)), Math.max(...sides.map(rateOf))]
  const byCost = sides.some(isGeneratorLimit)
  const even = byCost && slowest < fastest * SAME_LOAD ? await all(slowest * PACE) : fast
  return baselines.flatMap(({against, side: _, ...target}, index) => {
    const row = (unit: string, samples: Record<string, Work[]>, amount: (work: Work) => number): Row => {
      const [our, baseline] = [samples[0]!, samples[index + 1]!]
      return {
        ...judge({...about, ...target, against, unit, ours: our.map(amount), baseline: baseline.map(amount)}),
        busy: {ours: busyOf(our), baseline: busyOf(baseline)},
      }
    }
    const clock = row(`${of}/s`, fast, ({perSecond}) => perSecond)
    const cost = row(`${of} per CPU second of the server`, even, ({cpuMicros}) => 1e6 / cpuMicros)
    const [counts, other] = byCost ? [cost, clock] : [clock, cost]
    return [counts, {...other, target: '', met: null}]
  })
}

/** Enough digits to compare by. */
const shown = (value: number): string =>
  value >= 1_000
    ? Math.round(value).toLocaleString('en')
    : value >= 100
      ? value.toFixed(0)
      : value >= 10
        ? value.toFixed(1)
        : value.toFixed(2)

/** What was measured as Markdown: one table of all figures, what each leaves out, and how costs grow. */
export const markdown = (measured: readonly (Row | Growth)[]): string => {
  const rows = measured.filter((one) => 'ratio' in one)
  const growth = measured.filter((one) => 'at' in one)
  const left = [...Map.groupBy(rows, ({leavesOut}) => leavesOut)].map(
    ([what, of]) => `- ${[...new Set(of.map(({figure}) => figure))].join('; ')}: ${what}`,
  )
  return [
    line('figure', 'baseline', 'unit', 'ours', 'baseline', 'ratio', 'target', 'met'),
    '|---|---|---|---:|---:|---:|---|---|',
    ...rows.map(({figure, against, unit, ours, baseline, ratio, target, met}) => {
      const verdict = met === null ? '' : met ? 'yes' : '**no**'
      return line(figure, against, unit, shown(ours), shown(baseline), ratio.toFixed(2), target, verdict)
    }),
    '',
    'What the figures leave out:',
    '',
    ...left,
    ...[...Map.groupBy(growth, ({of}) => of)].flatMap(([of, costs]) => {
      const counts = Object.keys(costs[0]!.at)
      return [
        '',
        line(of, 'unit', ...counts.map((count) => Number(count).toLocaleString('en'))),
        `|---|---|${'---:|'.repeat(counts.length)}`,
        ...costs.map(({what, unit, at}) => line(what, unit, ...counts.map((count) => shown(at[count]!)))),
      ]
    }),
    '',
  ].join('\n')
}

const line = (...cells: string[]): string => `| ${cells.join(' | ')} |`
