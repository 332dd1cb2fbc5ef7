import {setImmediate as turn} from 'node:timers/promises'
import {type Client, type Connection, Query} from 'pg'
import type {TailEvent} from '../log/tail.ts'
import {advanceStatement, committed, type Feeding, foldEvents, isRowError, isWanted, runsOf} from './feeding.ts'
import {type Generation, targetOf} from './generations.ts'
import type {Copy, Statement} from './readTable.ts'

/**
 * What many events come to for generations that are being built, written by one message and in one transaction: rows are
 * copied where all are new. PostgreSQL works through it without an answer in between, while the next one is folded.
 */
export type Batch = {
  add(page: TailEvent[]): Promise<void>
  /** Of rows to be copied: what there is to write besides is little. */
  bytes(): number
  /** False where nothing was written: a table can't take an event, or a row is there already. */
  write(feeding: Feeding): Promise<boolean>
}

type Part = Statement | {text: string; rows: Buffer[]}

export const openBatch = (generations: readonly Generation[]): Batch => {
  const parts = new Map<Generation, Part[]>()
  let last: TailEvent | undefined
  let isRefused = false
  let bytes = 0

  const copy = (into: Part[], {text, rows}: Copy) => {
    bytes += rows.length
    const before = into.at(-1)
    if (before && 'rows' in before && before.text === text) before.rows.push(rows)
    else into.push({text, rows: [rows]})
  }

  return {
    add: async (page) => {
      for (const events of runsOf(page)) {
        last = events.at(-1)!
        for (const generation of generations) {
          if (!isWanted(generation, events)) continue
          const into = parts.get(generation) ?? []
          parts.set(generation, into)
          const change = foldEvents({...generation, target: targetOf(generation)}, events, {isNew: true})
          isRefused ||= change.fault !== null
          if (change.copy) copy(into, change.copy)
          into.push(...change.statements)
          // The message before this one goes on to where it is waited for.
          await turn()
        }
      }
    },
    bytes: () => bytes,
    write: async (feeding) => {
      const wanted = [...parts.keys()]
      if (isRefused || wanted.some(({fault}) => fault !== null)) return false
      if (!last || wanted.length === 0) return true
      const all = [...[...parts.values()].flat(), advanceStatement(feeding.termOf, wanted, last)]
      try {
        await committed(feeding, wanted, last, send(feeding.client, all))
        return true
      } catch (error) {
        if (isRowError(error)) return false
        throw error
      }
    },
  }
}

/** `pg` sends rows when it is asked for them, one round trip for each table. */
const send = (client: Client, parts: Part[]): Promise<void> =>
  new Promise((resolve, reject) => {
    const text = parts.map((part) => ('rows' in part ? part.text : inText(client, part))).join(';\n')
    const query = new Query(text, (error) => (error ? reject(error) : resolve()))
    const submit = (connection: Connection & Wire) => {
      connection.query(text)
      for (const part of parts) {
        if (!('rows' in part)) continue
        for (const rows of part.rows) connection.sendCopyFromChunk(rows)
        connection.endCopyFrom()
      }
    }
    client.query(Object.assign(query, {submit, handleCopyInResponse: () => {}}))
  })

type Wire = {query(text: string): void; sendCopyFromChunk(rows: Buffer): void; endCopyFrom(): void}

/** A message of several statements takes no parameters. */
const inText = (client: Client, {text, values}: Statement): string => {
  const literal = (value: unknown): string => {
    if (value === null) return 'NULL'
    return Array.isArray(value) ? `ARRAY[${value.map(literal).join(', ')}]` : client.escapeLiteral(String(value))
  }
  return text.replace(/\$(\d+)/g, (_, number) => literal(values[Number(number) - 1]))
}
