import {setTimeout as pause} from 'node:timers/promises'
import {setFlagsFromString} from 'node:v8'
import {Client} from 'pg'
import type {Feeding} from '../projections/feeding.ts'
import {fill} from '../projections/fill.ts'
import {
  addIndexes,
  beginBeside,
  dropGeneration,
  type Generation,
  join,
  readGenerations,
  swapTo,
  targetOf,
} from '../projections/generations.ts'
import type {ReadTable} from '../projections/readTable.ts'
import {tables} from '../projections/tables.ts'
import {type Operator, WrongUsage} from './operator.ts'
import {openProgress} from './progress.ts'

const WAIT_MS = 60_000
const LOCK_MS = 4_000
/** Who begins to lead tries a table again that stopped: a fault that stays for so long is one. */
const TRIED_MS = 3_000
/** What each process of the join of two large tables may take, twice, before it goes to files. */
const COMPARE_MEMORY = '64MB'
const COMPARE_MS = 600_000
/** Rows that differ which a report names; the rest is counted. */
const NAMED = 1_000

/** A row that is not what a fresh fold of the log gives. */
export type Difference = {key: {[column: string]: unknown}; difference: 'altered' | 'missing' | 'extra'}
export type Compared = {rows: number; differing: number; differences: Difference[]}

export const tablesNamed = (names: readonly string[], all: boolean): readonly ReadTable[] => {
  if (all === names.length > 0) throw new WrongUsage('Name the projections, or give --all.')
  const unknown = names.find((name) => !tables.some((table) => table.name === name))
  if (unknown) {
    throw new WrongUsage(`There is no projection ${unknown}: there are ${tables.map(({name}) => name).join(', ')}.`)
  }
  return all ? tables : tables.filter(({name}) => names.includes(name))
}

type Builder = Operator & {client: Client; close(): Promise<void>}

/** With the only connection that builds generations of these tables. A killed command holds it until its last statement is over. */
const openBuilder = async (operator: Operator, wanted: readonly ReadTable[]): Promise<Builder> => {
  const client = new Client({connectionString: operator.url, application_name: 'community rebuild', keepAlive: true})
  client.on('error', () => {})
  const close = () => client.end().catch(() => {})
  await client.connect()
  try {
    await client.query(`SET synchronous_commit = off; SET lock_timeout = ${LOCK_MS}`)
    for (const {name, view} of wanted) {
      await client.query('SELECT pg_advisory_lock(hashtext($1))', [`community builder of ${view}`]).catch(() => {
        throw new Error(`${name} is being rebuilt or verified by another command.`)
      })
    }
    return {...operator, client, close}
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * Folds the log from its beginning into generations beside the live ones, in one reading, until they are fed together. A
 * killed run is taken up where it stopped. Where a table could not take an event, its generation bears the fault.
 */
const buildBeside = async (builder: Builder, wanted: readonly ReadTable[]): Promise<Generation[]> => {
  const {client, pool, log, codec, logIdentity} = builder
  const generations: Generation[] = []
  for (const table of wanted) generations.push(await beginBeside(pool, table, {logIdentity, adapter: log.adapter}))
  const building = generations.filter(({state}) => state === 'building')
  if (building.length === 0) return generations
  const title = building.length === 1 ? building[0]!.table.name : `${building.length} tables`
  const progress = openProgress(title, (await log.head()) ?? 0n, building[0]!.position ?? 0n)
  const feeding: Feeding = {
    client,
    termOf: () => null,
    advanced: () => {},
    failed: async (failed, why) => {
      failed.fault = why
      await pool.query('UPDATE read.generations SET fault = $3 WHERE view = $1 AND generation = $2', [
        failed.table.view,
        failed.generation,
        why,
      ])
    },
  }
  const signal = new AbortController().signal
  const steps = [(one: Generation) => addIndexes(client, one), async () => {}, (one: Generation) => join(pool, one)]
  keepMemorySmall()
  try {
    // Thrice: what is written while the first run reads and indexes are made is little in the end, and whoever leads takes
    // over from there.
    for (const next of steps) {
      await fill({log, codec}, feeding, building, {signal, onProgress: progress.advance})
      for (const one of building) if (one.fault === null) await next(one)
    }
  } finally {
    progress.stop()
  }
  return generations
}

/** Left to itself, Node takes 250 MB more for what is garbage a moment later; measured, it is as fast without. */
const keepMemorySmall = (): void => {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString('--heap-growing-percent=100')
}

/** The generation that is shown, or that will be. */
const shownOf = async ({pool}: Operator, table: ReadTable): Promise<Generation | undefined> => {
  const all = await readGenerations(pool, [table])
  return all.find(({state}) => state === 'live') ?? all.at(-1)
}

/**
 * A table that is not there yet, of a new version or of another log, is built by whoever leads: by this process, where no
 * node of this version runs. Gives what is live then, or what stopped at an event: for so long that nobody tries it again.
 */
const untilLive = async (operator: Operator, table: ReadTable): Promise<Generation> => {
  let progress: ReturnType<typeof openProgress> | null = null
  let before: Generation | undefined
  let until = Date.now() + WAIT_MS
  try {
    for (;;) {
      const shown: Generation | undefined = await shownOf(operator, table)
      if (shown?.state === 'live' && shown.fault === null) return shown
      if (shown?.fault !== before?.fault || shown?.position !== before?.position) {
        until = Date.now() + (shown?.fault ? TRIED_MS : WAIT_MS)
        const [from, to] = [before?.position ?? 0n, shown?.position ?? 0n]
        progress ??= openProgress(table.name, (await operator.log.head()) ?? 0n, from)
        progress.advance(Number(to - from), to)
      }
      if (Date.now() > until) {
        if (shown?.fault) return shown
        throw new Error(`${table.name}: nobody builds the table`)
      }
      before = shown
      await pause(50)
    }
  } finally {
    progress?.stop()
  }
}

/** Waits until some node feeds the joined generation beside the live one, so that both are at one position. */
const untilTogether = async <T>(
  {pool}: Operator,
  generation: Generation,
  attempt: () => Promise<T | null>,
): Promise<T> => {
  const until = Date.now() + WAIT_MS
  for (;;) {
    const result = await attempt()
    if (result !== null) return result
    const all = await readGenerations(pool, [generation.table])
    const now = all.find((one) => one.generation === generation.generation)
    const fault = now?.fault ?? all.find(({state}) => state === 'live')?.fault
    if (fault) throw new Error(`${generation.table.name}: stopped at ${fault}`)
    if (!now || Date.now() > until) throw new Error(`${generation.table.name}: nobody feeds the new generation`)
    await pause(50)
  }
}

/** Row by row, in one snapshot in which both are at the same position; null where they are not at the same one now. */
const compare = async (operator: Operator, fresh: Generation): Promise<Compared | null> => {
  try {
    return await compareBy(operator, fresh, 'parallel')
  } catch (error) {
    // Several processes join in shared memory, of which a container has 64 MB if nobody gave it more.
    if (!isOutOfResources(error)) throw error
    return compareBy(operator, fresh, 'alone')
  }
}

const isOutOfResources = (error: unknown): boolean => /^53/.test((error as {code?: string}).code ?? '')

const compareBy = async (
  {pool}: Operator,
  fresh: Generation,
  processes: 'parallel' | 'alone',
): Promise<Compared | null> => {
  const {table} = fresh
  const client = await pool.connect()
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    await client.query(`SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '${COMPARE_MEMORY}'`)
    if (processes === 'alone') await client.query('SET LOCAL max_parallel_workers_per_gather = 0')
    const generations = await readGenerations(client, [table])
    const live = generations.find(({state}) => state === 'live')
    const now = generations.find(({generation}) => generation === fresh.generation)
    if (!live || !now || live.position !== now.position) return null
    const key = table.key.join(', ')
    const [missing, extra] = [`l.${table.key[0]} IS NULL`, `f.${table.key[0]} IS NULL`]
    const differs = `(${missing} OR ${extra} OR l IS DISTINCT FROM f)`
    const joined = `${table.view} l FULL JOIN ${targetOf(now)} f USING (${key})`
    const ask = async <R extends object>(text: string): Promise<R[]> =>
      (await client.query<R>({text, query_timeout: COMPARE_MS} as never)).rows
    // Counted by every process for itself; rows would all go through one of them.
    const [counted] = await ask<{rows: string; differing: string}>(
      `SELECT count(*) AS rows, count(*) FILTER (WHERE ${differs}) AS differing FROM ${joined}`,
    )
    const {rows, differing} = counted!
    if (differing === '0') return {rows: Number(rows), differing: 0, differences: []}
    const differences = await ask<Difference>(
      `SELECT json_build_object(${table.key.map((column) => `'${column}', ${column}`).join(', ')}) AS key,
         CASE WHEN ${missing} THEN 'missing' WHEN ${extra} THEN 'extra' ELSE 'altered' END AS difference
       FROM ${joined} WHERE ${differs} ORDER BY ${key} LIMIT ${NAMED}`,
    )
    return {rows: Number(rows), differing: Number(differing), differences}
  } finally {
    await client.query('ROLLBACK').catch(() => {})
    client.release()
  }
}

/** `note`: why there was nothing to compare. */
export type Rebuilt = {name: string; fault: string} | ({name: string; generation: number; note?: string} & Compared)

/** Builds beside the live tables, compares, and switches one after the other; what was live is kept and fed on. */
export async function* rebuild(operator: Operator, wanted: readonly ReadTable[]): AsyncGenerator<Rebuilt> {
  const there: ReadTable[] = []
  for (const table of wanted) {
    if ((await shownOf(operator, table))?.state === 'live') there.push(table)
    else {
      const {generation, fault} = await untilLive(operator, table)
      const {name} = table
      yield fault === null ? {name, generation, note: 'there was none before it', ...NOTHING} : {name, fault}
    }
  }
  const builder = await openBuilder(operator, there)
  try {
    const built = await buildBeside(builder, there)
    // Beside each other: the largest takes as long as all the others.
    const compared = built.map((one) => compareToLive(builder, one))
    const allCompared = Promise.allSettled(compared)
    try {
      for (const [index, one] of built.entries()) yield await replaceBy(builder, one, compared[index]!)
    } finally {
      await allCompared
    }
  } finally {
    await builder.close()
  }
}

const NOTHING: Compared = {rows: 0, differing: 0, differences: []}

const compareToLive = async (operator: Operator, built: Generation): Promise<Compared & {note?: string}> => {
  if (built.fault !== null) return NOTHING
  const live = (await shownOf(operator, built.table))!
  // It will not come to where the new one is.
  if (live.fault) return {...NOTHING, note: `the one before it had stopped at ${live.fault}`}
  return untilTogether(operator, built, () => compare(operator, built))
}

const replaceBy = async (
  operator: Operator,
  built: Generation,
  compared: Promise<Compared & {note?: string}>,
): Promise<Rebuilt> => {
  const {table, generation, fault} = built
  const {name} = table
  if (fault !== null) return {name, fault}
  const result = await compared
  await untilTogether(operator, built, async () => ((await swapTo(operator.pool, table, generation)) ? true : null))
  return {name, generation, ...result}
}

/** Proves that the live tables are what a fresh fold gives at one position; what was folded for it is dropped again. */
export async function* verify(operator: Operator, wanted: readonly ReadTable[]): AsyncGenerator<Rebuilt> {
  const there: ReadTable[] = []
  for (const table of wanted) {
    const {fault} = await untilLive(operator, table)
    if (fault === null) there.push(table)
    else yield {name: table.name, fault}
  }
  const builder = await openBuilder(operator, there)
  let built: Generation[] = []
  try {
    built = await buildBeside(builder, there)
    for (const one of built) {
      const {table, generation, fault} = one
      const {name} = table
      if (fault === null)
        yield {name, generation, ...(await untilTogether(operator, one, () => compare(operator, one)))}
      else yield {name, fault}
    }
  } finally {
    for (const one of built) if (one.fault === null) await dropGeneration(operator.pool, one)
    await builder.close()
  }
}

/** Shows again the table that was live before the last rebuild. Null: there is none. */
export const rollback = async (operator: Operator, table: ReadTable): Promise<number | null> => {
  const builder = await openBuilder(operator, [table])
  try {
    const kept = (await readGenerations(operator.pool, [table])).findLast(({state}) => state === 'kept')
    if (!kept) return null
    await untilTogether(operator, kept, async () =>
      (await swapTo(operator.pool, table, kept.generation)) ? true : null,
    )
    return kept.generation
  } finally {
    await builder.close()
  }
}
