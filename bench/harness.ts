import type {Place} from './place.ts'

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
}

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
export type Figure = {name: string; measure(bench: Bench): Promise<Row[]>}

/**
 * Measures all sides in turn, each round in the other order, after one round that does not count. So what disturbs the
 * machine for a while disturbs all sides alike.
 */
export const inTurn = async <Side extends string, Sample>(
  {rounds, quick}: Bench,
  sides: Record<Side, () => Promise<Sample>>,
): Promise<Record<Side, Sample[]>> => {
  const names = Object.keys(sides) as Side[]
  const samples = Object.fromEntries(names.map((name) => [name, [] as Sample[]])) as Record<Side, Sample[]>
  for (let round = quick ? 0 : -1; round < rounds; round++) {
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

/** Enough digits to compare by. */
const shown = (value: number): string =>
  value >= 1_000
    ? Math.round(value).toLocaleString('en')
    : value >= 100
      ? value.toFixed(0)
      : value >= 10
        ? value.toFixed(1)
        : value.toFixed(2)

/** The rows as a Markdown table, with what each leaves out below it. */
export const markdown = (rows: readonly Row[]): string => {
  const lines = rows.map(({figure, against, unit, ours, baseline, ratio, target, met}) =>
    [
      '',
      figure,
      against,
      unit,
      shown(ours),
      shown(baseline),
      ratio.toFixed(2),
      target,
      met === null ? '' : met ? 'yes' : '**no**',
      '',
    ]
      .join(' | ')
      .trim(),
  )
  const left = [...Map.groupBy(rows, ({leavesOut}) => leavesOut)].map(
    ([what, of]) => `- ${[...new Set(of.map(({figure}) => figure))].join('; ')}: ${what}`,
  )
  return [
    '| figure | baseline | unit | ours | baseline | ratio | target | met |',
    '|---|---|---|---:|---:|---:|---|---|',
    ...lines,
    '',
    'What the figures leave out:',
    '',
    ...left,
    '',
  ].join('\n')
}
