import {setTimeout as pause} from 'node:timers/promises'
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
const LOCK_MS = 5_000
/** Who begins to lead tries a table again that stopped: a fault that stays for so long is one. */
const TRIED_MS = 3_000
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

type Builder = Operator & {client: Client}

/**
 * The work, with the only connection that builds generations of this table. A command that was killed holds it until its
 * last statement is over.
 */
const asBuilder = async <T>(
  operator: Operator,
  table: ReadTable,
  work: (builder: Builder) => Promise<T>,
): Promise<T> => {
  const client = new Client({connectionString: operator.url, application_name: 'community rebuild', keepAlive: true})
  client.on('error', () => {})
  await client.connect()
  try {
    await client.query(`SET synchronous_commit = off; SET lock_timeout = ${LOCK_MS}`)
    await client.query('SELECT pg_advisory_lock(hashtext($1))', [`community builder of ${table.view}`]).catch(() => {
      throw new Error(`${table.name} is being rebuilt or verified by another command.`)
    })
    return await work({...operator, client})
  } finally {
    await client.end().catch(() => {})
  }
}

/**
 * Folds the log from its beginning into a generation beside the live one, until both are fed together. A killed run is
 * taken up where it stopped. Where the table could not take an event, the generation bears the fault.
 */
const buildBeside = async (builder: Builder, table: ReadTable): Promise<Generation> => {
  const {client, pool, log, codec, logIdentity} = builder
  const generation = await beginBeside(pool, table, {logIdentity, adapter: log.adapter})
  if (generation.state === 'joined') return generation
  const progress = openProgress(table.name, (await log.head()) ?? 0n, generation.position ?? 0n)
  const feeding: Feeding = {
    client,
    termOf: () => null,
    advanced: () => {},
    failed: async (failed, why) => {
      failed.fault = why
      await pool.query('UPDATE read.generations SET fault = $3 WHERE view = $1 AND generation = $2', [
        table.view,
        failed.generation,
        why,
      ])
    },
  }
  const signal = new AbortController().signal
  try {
    // Thrice: what is written while the first run reads and indexes are made is little in the end, and whoever leads takes
    // over from there.
    for (const next of [() => addIndexes(client, generation), async () => {}, () => join(pool, generation)]) {
      await fill({log, codec}, feeding, generation, {signal, onProgress: progress.advance})
      if (generation.fault !== null) break
      await next()
    }
  } finally {
    progress.stop()
  }
  return generation
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
const compare = async ({pool}: Operator, fresh: Generation): Promise<Compared | null> => {
  const {table} = fresh
  const client = await pool.connect()
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    await client.query('SET LOCAL statement_timeout = 0')
    const generations = await readGenerations(client, [table])
    const live = generations.find(({state}) => state === 'live')
    const now = generations.find(({generation}) => generation === fresh.generation)
    if (!live || !now || live.position !== now.position) return null
    const key = table.key.join(', ')
    const first = table.key[0]
    const {rows} = await client.query<{total: string; differing: string; differences: Difference[] | null}>({
      text: `WITH rows AS (
        SELECT ${key}, l.${first} IS NULL AS missing, f.${first} IS NULL AS extra,
          (l.${first} IS NULL OR f.${first} IS NULL OR l IS DISTINCT FROM f) AS differs
        FROM ${targetOf(live)} l FULL JOIN ${targetOf(now)} f USING (${key})
      ), named AS (SELECT * FROM rows WHERE differs ORDER BY ${key} LIMIT ${NAMED})
      SELECT count(*) AS total, count(*) FILTER (WHERE differs) AS differing,
        (SELECT json_agg(json_build_object('key', json_build_object(${table.key.map((column) => `'${column}', ${column}`).join(', ')}),
          'difference', CASE WHEN missing THEN 'missing' WHEN extra THEN 'extra' ELSE 'altered' END)) FROM named) AS differences
      FROM rows`,
      query_timeout: 600_000,
    } as never)
    const {total, differing, differences} = rows[0]!
    return {rows: Number(total), differing: Number(differing), differences: differences ?? []}
  } finally {
    await client.query('ROLLBACK').catch(() => {})
    client.release()
  }
}

/** `note`: why there was nothing to compare. */
export type Rebuilt = {name: string; fault: string} | ({name: string; generation: number; note?: string} & Compared)

/** Builds beside the live table, compares, and switches; the table that was live is kept and fed on. */
export const rebuild = async (operator: Operator, table: ReadTable): Promise<Rebuilt> => {
  const {name} = table
  const nothing = {rows: 0, differing: 0, differences: []}
  if ((await shownOf(operator, table))?.state !== 'live') {
    const {generation, fault} = await untilLive(operator, table)
    return fault === null ? {name, generation, note: 'there was none before it', ...nothing} : {name, fault}
  }
  return asBuilder(operator, table, async (builder) => {
    const built = await buildBeside(builder, table)
    if (built.fault !== null) return {name, fault: built.fault}
    const live = (await shownOf(operator, table))!
    // It will not come to where the new one is.
    const compared = live.fault
      ? {...nothing, note: `the one before it had stopped at ${live.fault}`}
      : await untilTogether(operator, built, () => compare(operator, built))
    await untilTogether(operator, built, async () =>
      (await swapTo(operator.pool, table, built.generation)) ? true : null,
    )
    return {name, generation: built.generation, ...compared}
  })
}

/** Proves that the live table is what a fresh fold gives at one position; what was folded for it is dropped again. */
export const verify = async (operator: Operator, table: ReadTable): Promise<Rebuilt> => {
  const {name} = table
  const {fault} = await untilLive(operator, table)
  if (fault !== null) return {name, fault}
  return asBuilder(operator, table, async (builder) => {
    const generation = await buildBeside(builder, table)
    if (generation.fault !== null) return {name, fault: generation.fault}
    try {
      const compared = await untilTogether(operator, generation, () => compare(operator, generation))
      return {name, generation: generation.generation, ...compared}
    } finally {
      await dropGeneration(operator.pool, generation)
    }
  })
}

/** Shows again the table that was live before the last rebuild. Null: there is none. */
export const rollback = (operator: Operator, table: ReadTable): Promise<number | null> =>
  asBuilder(operator, table, async () => {
    const kept = (await readGenerations(operator.pool, [table])).findLast(({state}) => state === 'kept')
    if (!kept) return null
    await untilTogether(operator, kept, async () =>
      (await swapTo(operator.pool, table, kept.generation)) ? true : null,
    )
    return kept.generation
  })
