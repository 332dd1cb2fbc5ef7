import {readFile, writeFile} from 'node:fs/promises'
import {parseArgs} from 'node:util'
import {figures} from './figures.ts'
import {type Bench, type Growth, markdown, type Row} from './harness.ts'
import {openPlace, pinGenerator} from './place.ts'

const HELP = `npm run bench -- [options]

  --quick          small data, one short round: whether it works
  --only NAME,…    these figures alone: ${figures.map(({name}) => name).join(', ')}
  --rounds N       how often each side is measured (5)
  --json FILE      writes what was measured; figures that are in it already and are not measured again stay
  --data DIR       keeps the database with its data sets there, for the next run
  --profile DIR    leaves there what servers and baselines spent their time on; all is slower then
  --markdown FILE  measures nothing: prints the table of such a JSON
`

const {values: options} = parseArgs({
  options: {
    quick: {type: 'boolean', default: false},
    only: {type: 'string'},
    rounds: {type: 'string', default: '5'},
    json: {type: 'string'},
    data: {type: 'string'},
    profile: {type: 'string'},
    markdown: {type: 'string'},
    help: {type: 'boolean', default: false},
  },
})

/** By figure, in the order of the list. */
type Kept = {[figure: string]: {at: string; rows: (Row | Growth)[]}}

const readKept = async (file: string | undefined): Promise<Kept> => {
  if (file === undefined) return {}
  const text = await readFile(file, 'utf8').catch(() => '{}')
  return JSON.parse(text) as Kept
}

const rowsOf = (kept: Kept): (Row | Growth)[] => figures.flatMap(({name}) => kept[name]?.rows ?? [])

const measure = async (): Promise<number> => {
  const wanted = options.only?.split(',') ?? figures.map(({name}) => name)
  const unknown = wanted.filter((name) => !figures.some((figure) => figure.name === name))
  if (unknown.length > 0) {
    process.stderr.write(`There is no figure ${unknown.join(', ')}.\n\n${HELP}`)
    return 2
  }
  await pinGenerator()
  const kept = await readKept(options.json)
  const place = await openPlace(options.data ?? null, options.profile ?? null)
  const bench: Bench = {
    quick: options.quick,
    rounds: options.quick ? 1 : Number(options.rounds),
    place,
    say: (what) => process.stderr.write(`  ${what}\n`),
  }
  const measured: Kept = {}
  let status = 0
  try {
    for (const {name, measure} of figures) {
      if (!wanted.includes(name)) continue
      const began = performance.now()
      process.stderr.write(`${name}\n`)
      try {
        const rows = await measure(bench)
        kept[name] = measured[name] = {at: new Date().toISOString(), rows}
        if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(kept, null, 2)}\n`)
        for (const row of rows)
          if ('ratio' in row) bench.say(`${row.ours} ${row.unit}, ${row.baseline}, ${row.ratio} ${row.met}`)
      } catch (error) {
        // The others are worth knowing all the same.
        status = 1
        process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
      } finally {
        await place.endProcesses()
      }
      bench.say(`${((performance.now() - began) / 1000).toFixed(1)} s`)
    }
  } finally {
    await place.end()
  }
  process.stdout.write(markdown(rowsOf(measured)))
  return status
}

if (options.help) process.stdout.write(HELP)
else if (options.markdown !== undefined) process.stdout.write(markdown(rowsOf(await readKept(options.markdown))))
else process.exit(await measure())
