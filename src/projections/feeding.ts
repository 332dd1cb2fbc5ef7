import type {Client} from 'pg'
import {within} from '../database/reconnect.ts'
import {addressOf, isFaulty} from '../log/codec.ts'
import type {TailEvent} from '../log/tail.ts'
import {type Generation, targetOf} from './generations.ts'
import {type Copy, eraseStatements, foldRows, type ReadTable, type Statement} from './readTable.ts'

/** Events that are folded in memory and written at once. */
const BATCH_EVENTS = 5_000
/** Longer than the database itself lets a statement run: past this the connection is dead. */
const ANSWER_MS = 65_000

export type Feeding = {
  client: Client
  /** The lease's term by view; none for a generation that its builder fills. */
  termOf(view: string): string | null
  advanced(generations: readonly Generation[], position: bigint): void
  /** The generation can't take an event: it stops there, with the event's address and the reason. */
  failed(generation: Generation, why: string): Promise<void>
}

/**
 * Applies events to generations, each from its own position on. Rows and checkpoints are one statement, which fails where
 * the lease has gone to another node or a checkpoint was moved: that is the fence, and no clock or pause gets round it.
 * A generation that can't take an event stops there, the others go on.
 */
export const feed = async (feeding: Feeding, generations: readonly Generation[], page: TailEvent[]): Promise<void> => {
  for (const events of runsOf(page)) await apply(feeding, generations, events)
}

export const isWanted = ({fault, position}: Generation, events: TailEvent[]): boolean =>
  fault === null && (position ?? -1n) < events.at(-1)!.position

const apply = async (feeding: Feeding, generations: readonly Generation[], events: TailEvent[]): Promise<void> => {
  const last = events.at(-1)!
  const changes = new Map<Generation, Statement[]>()
  for (const generation of generations) {
    if (!isWanted(generation, events)) continue
    const {statements, fault} = fold(generation, events)
    if (fault === null) changes.set(generation, statements)
    else if (events.length === 1) await feeding.failed(generation, fault)
    else await applySingly(feeding, generation, events)
  }
  if (changes.size === 0) return
  try {
    await commit(feeding, changes, last)
  } catch (error) {
    if (!isRowError(error)) throw error
    for (const generation of changes.keys()) await applySingly(feeding, generation, events)
  }
}

/** Event by event, up to the one that the table can't take. */
const applySingly = async (feeding: Feeding, generation: Generation, events: TailEvent[]): Promise<void> => {
  for (const event of events) {
    if (generation.position !== null && event.position <= generation.position) continue
    const {statements, fault} = fold(generation, [event])
    if (fault !== null) return feeding.failed(generation, fault)
    try {
      await commit(feeding, new Map([[generation, statements]]), event)
    } catch (error) {
      if (!isRowError(error)) throw error
      return feeding.failed(generation, `${addressOf(event)}: ${String(error)}`)
    }
  }
}

const fold = (generation: Generation, events: TailEvent[]): Change =>
  foldEvents({...generation, target: targetOf(generation)}, events)

type Change = {statements: Statement[]; copy: Copy | null; fault: string | null}

/**
 * What these events, one of {@link runsOf}, do to the rows of `target`; or which one the table can't take. `isNew`: no row is
 * expected to be there that they put, so they may be copied.
 */
export const foldEvents = (
  {table, target, position}: {table: ReadTable; target: string; position: bigint | null},
  events: TailEvent[],
  {isNew = false} = {},
): Change => {
  const [first] = events
  if (events.length === 1 && first && isErasure(first)) {
    const rows = foldRows(table)
    table.handlers.UserErased?.(first, rows)
    const erased = eraseStatements(table, target, first.data.userId)
    return {statements: [...erased, ...rows.statements(target)], copy: null, fault: null}
  }
  const rows = foldRows(table)
  for (const event of events) {
    const handler = table.handlers[event.type]
    if (!handler || (position !== null && event.position <= position)) continue
    if (isFaulty(event)) return {statements: [], copy: null, fault: `${addressOf(event)}: ${event.fault}`}
    try {
      handler(event, rows)
    } catch (error) {
      return {statements: [], copy: null, fault: `${addressOf(event)}: ${String(error)}`}
    }
  }
  const copy = isNew ? rows.copy(target) : null
  return {statements: copy ? [] : rows.statements(target), copy, fault: null}
}

const commit = async (feeding: Feeding, changes: Map<Generation, Statement[]>, last: TailEvent): Promise<void> => {
  const {client, termOf} = feeding
  const generations = [...changes.keys()]
  const values: unknown[] = []
  const numbered = ({text, values: own}: Statement): string => {
    const offset = values.length
    values.push(...own)
    return text.replace(/\$(\d+)/g, (_, n) => `$${Number(n) + offset}`)
  }
  const parts = [...changes.values()].flat().map((one, index) => `c${index} AS (${numbered(one)})`)
  const advance = numbered(advanceStatement(termOf, generations, last))
  const text = parts.length > 0 ? `WITH ${parts.join(', ')} ${advance}` : advance
  const isLive = generations.every(({table}) => termOf(table.view) !== null)
  const name = isLive ? nameOf(text) : undefined
  await committed(feeding, generations, last, client.query({text, values, ...(name && {name})}))
}

export const advanceStatement = (
  termOf: Feeding['termOf'],
  generations: readonly Generation[],
  last: TailEvent,
): Statement => ({
  text: 'SELECT read.move_checkpoints($1::bigint[], $2::text[], $3::int[], $4::bigint[], $5::bigint, $6::uuid)',
  values: [
    generations.map(({table}) => termOf(table.view)),
    generations.map(({table}) => table.view),
    generations.map(({generation}) => generation),
    generations.map(({position}) => position?.toString() ?? null),
    last.position.toString(),
    last.id,
  ],
})

/** Waits for the commit, and remembers what it moved. */
export const committed = async (
  {advanced}: Feeding,
  generations: readonly Generation[],
  last: TailEvent,
  commit: Promise<unknown>,
): Promise<void> => {
  await within(ANSWER_MS, commit, () => new Error('the database did not answer in time'))
  for (const generation of generations) {
    generation.position = last.position
    generation.eventId = last.id
  }
  advanced(generations, last.position)
}

/** Statements that a connection keeps: those for one event of each type, and for what often comes together. */
const NAMED = 64
const names = new Map<string, string>()

/**
 * A statement with a name is parsed and planned once a connection, which for one event is most of its time. A builder's
 * are long, seldom two the same, and better planned for what is in them.
 */
const nameOf = (text: string): string | undefined => {
  if (!names.has(text) && names.size < NAMED) names.set(text, `feed ${names.size}`)
  return names.get(text)
}

const isErasure = (event: TailEvent): event is Extract<TailEvent, {type: 'UserErased'; data: object}> =>
  event.type === 'UserErased' && !isFaulty(event)

/** Runs of events that are folded together. An erasure is one by itself: it changes rows by what they hold, not by key. */
export const runsOf = (page: TailEvent[]): TailEvent[][] => {
  const runs: TailEvent[][] = []
  let run: TailEvent[] = []
  const end = () => {
    if (run.length > 0) runs.push(run)
    run = []
  }
  for (const event of page) {
    if (isErasure(event)) {
      end()
      runs.push([event])
    } else {
      run.push(event)
      if (run.length === BATCH_EVENTS) end()
    }
  }
  end()
  return runs
}

/** The statement was refused because of a row, not because of the connection, the lease or the server. */
export const isRowError = (error: unknown): boolean => {
  const code = (error as {code?: unknown}).code
  return typeof code === 'string' && /^(21|22|23)/.test(code)
}
