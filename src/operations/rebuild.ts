import {setTimeout as pause} from 'node:timers/promises'
import {reconnecting} from '../database/reconnect.ts'
import type {Feeding} from '../projections/feeding.ts'
import {fill} from '../projections/fill.ts'
import {
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

/**
 * Folds the log from its beginning into a generation beside the live one, until both are fed together. A killed run is
 * taken up where it stopped. Where the table could not take an event, the generation bears the fault.
 */
const buildBeside = async (operator: Operator, table: ReadTable): Promise<Generation> => {
  const {pool, log, codec, logIdentity, url} = operator
  const generation = await beginBeside(pool, table, {logIdentity, adapter: log.adapter})
  if (generation.state === 'joined') return generation
  const connection = reconnecting(url, 'community rebuild', (client) => client.query('SET synchronous_commit = off'))
  const progress = openProgress(table.name, (await log.head()) ?? 0n, generation.position ?? 0n)
  try {
    const feeding: Feeding = {
      client: await connection.client(),
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
    // Twice: what was written while the first run read is little, and whoever leads takes over from there.
    for (let run = 0; run < 2; run++) {
      await fill({log, codec}, feeding, generation, {signal, onProgress: progress.advance})
      if (generation.fault !== null) return generation
    }
  } finally {
    progress.stop()
    await connection.close()
  }
  await join(pool, generation)
  return generation
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
    const now = (await readGenerations(pool, [generation.table])).find(
      (one) => one.generation === generation.generation,
    )
    if (now?.fault) throw new Error(now.fault)
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

export type Rebuilt = {name: string; fault: string} | ({name: string; generation: number} & Compared)

/** Builds beside the live table, compares, and switches; the table that was live is kept and fed on. */
export const rebuild = async (operator: Operator, table: ReadTable): Promise<Rebuilt> => {
  const generation = await buildBeside(operator, table)
  if (generation.fault !== null) return {name: table.name, fault: generation.fault}
  const compared = await untilTogether(operator, generation, () => compare(operator, generation))
  await untilTogether(operator, generation, async () =>
    (await swapTo(operator.pool, table, generation.generation)) ? true : null,
  )
  return {name: table.name, generation: generation.generation, ...compared}
}

/** Proves that the live table is what a fresh fold gives at one position; what was folded for it is dropped again. */
export const verify = async (operator: Operator, table: ReadTable): Promise<Rebuilt> => {
  const generation = await buildBeside(operator, table)
  if (generation.fault !== null) return {name: table.name, fault: generation.fault}
  try {
    const compared = await untilTogether(operator, generation, () => compare(operator, generation))
    return {name: table.name, generation: generation.generation, ...compared}
  } finally {
    await dropGeneration(operator.pool, generation)
  }
}

/** Shows again the table that was live before the last rebuild. Null: there is none. */
export const rollback = async (operator: Operator, table: ReadTable): Promise<number | null> => {
  const kept = (await readGenerations(operator.pool, [table])).findLast(({state}) => state === 'kept')
  if (!kept) return null
  await untilTogether(operator, kept, async () => ((await swapTo(operator.pool, table, kept.generation)) ? true : null))
  return kept.generation
}
