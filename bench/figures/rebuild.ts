import {execFile} from 'node:child_process'
import {cpus} from 'node:os'
import {fileURLToPath} from 'node:url'
import {promisify} from 'node:util'
import {type Figure, judge, type Row} from '../harness.ts'
import type {Measured} from '../rebuild.ts'

const SCRIPT = fileURLToPath(new URL('../rebuild.ts', import.meta.url))
const MIB = 2 ** 20

/** All cores, though this process has only one, and unlike the other figures: whoever rebuilds has the database on the same machine, and both are at work. */
const measure = async (args: string[]): Promise<Measured> => {
  const command = [process.execPath, SCRIPT, ...args]
  if (process.platform === 'linux') command.unshift('taskset', '-c', `0-${cpus().length - 1}`)
  const {EVENTSTORE_URL, PATH} = process.env
  const env = {PATH, ...(EVENTSTORE_URL ? {EVENTSTORE_URL} : {})}
  const {stdout} = await promisify(execFile)(command[0]!, command.slice(1), {env, maxBuffer: 64 * MIB})
  return JSON.parse(stdout)
}

const p99 = (times: number[]): number => times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)]!

const LEAVES_OUT =
  'People who read meanwhile, and a server that feeds the live tables beside it. The time of the rebuild is that of the whole command: its start, reading, opening, folding, writing, indexes, the comparison with the live tables row by row, the switch.'

export const rebuild: Figure = {
  name: 'rebuild',
  measure: async ({quick}): Promise<Row[]> => {
    const sizes = quick ? ['--from', '3000', '--events', '4000', '--stored', '3000', '--live', '20'] : []
    const {rebuilds, singly, live, eventStore} = await measure(sizes)
    const [few, many] = rebuilds
    const rate = ({events, seconds}: {events: number; seconds: number}) => [events / seconds]
    const count = many!.events.toLocaleString('en')
    const about = {figure: `projections rebuild --all, ${count} events`, unit: 'events/s', leavesOut: LEAVES_OUT}
    const copy = 'a bare COPY of the same rows into tables with the same keys and indexes'
    const rows = [
      judge({
        ...about,
        against: copy,
        ours: rate(many!),
        baseline: [many!.events / many!.copySeconds],
        atLeast: 0.4,
      }),
      judge({
        ...about,
        against: 'the same COPY without the table for search, whose index is most of its time',
        ours: rate(many!),
        baseline: [many!.events / (many!.copySeconds - many!.copySecondsOfSearch)],
        shownOnly: true,
      }),
      judge({
        ...about,
        against: 'the same tables, each event committed durably',
        ours: rate(many!),
        baseline: rate(singly),
        atLeast: 20,
      }),
      judge({
        ...about,
        against: `with ${few!.events.toLocaleString('en')} events`,
        ours: rate(many!),
        baseline: rate(few!),
        atLeast: 0.85,
      }),
      judge({
        ...about,
        against: '200 MiB',
        unit: 'MiB at most',
        ours: [many!.peakBytes / MIB],
        baseline: [200],
        atMost: 1,
      }),
      judge({
        figure: 'from append to a row that a query sees, p99',
        against: 'a bare durable INSERT, p99',
        unit: 'ms',
        ours: [p99(live.ours)],
        baseline: [p99(live.baseline)],
        atMost: 3,
        leavesOut: 'Other writers and readers at the same time.',
      }),
    ]
    if (!eventStore) return rows
    const {events, rebuilds: stored, clientPerSecond} = eventStore
    const rowsOfStored = stored.map(({what, seconds}) =>
      judge({
        ...about,
        figure: `projections rebuild ${what} from EventStoreDB, ${events.toLocaleString('en')} events`,
        against: "the bare client's reading of the same log",
        ours: [events / seconds],
        baseline: clientPerSecond,
        atLeast: 0.6,
      }),
    )
    return [...rows, ...rowsOfStored]
  },
}
