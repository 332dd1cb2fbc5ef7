import type {DomainEvent} from '../domain/catalogue.ts'
import type {LoggedEvent} from '../log/codec.ts'

type Value = string | number | boolean | bigint | null
export type Row = {[column: string]: Value}

/**
 * What a handler may do to the table's rows. Operations are folded in memory and written as sets, so a handler can't
 * read the table: it is a function of the event alone.
 */
export type Rows = {
  /** The whole row, new or in the place of the one with its key. */
  put(row: Row): void
  /** Some columns of the row with this key, where there is one. */
  patch(key: Row, values: Row): void
  /** Adds to numeric columns of the row with this key, where there is one. */
  add(key: Row, amounts: {[column: string]: number}): void
  remove(key: Row): void
}

/**
 * One read table: what its rows are and how events make them. `columns` are PostgreSQL types by name. A change of the
 * rows' shape or meaning is a new `version`: it is built beside the old one. Queries read `view`, never the table.
 */
export type ReadTable = {
  readonly name: string
  readonly version: number
  readonly view: string
  readonly columns: {readonly [column: string]: string}
  readonly key: readonly string[]
  readonly indexes: readonly string[]
  readonly apart: boolean
  readonly handlers: {readonly [type: string]: ((event: LoggedEvent, rows: Rows) => void) | undefined}
  readonly erased: readonly Erased[]
}

/** What an erasure does to rows whose column `where` holds the person's id: it rewrites columns, or removes the row. */
export type Erased = {where: string; set: Row | null}

type Handlers = {[T in DomainEvent['type']]?: (event: Extract<LoggedEvent, {type: T}>, rows: Rows) => void}

export const readTable = ({
  handlers,
  indexes = [],
  apart = false,
  erased = [],
  ...table
}: {
  name: string
  version: number
  columns: {[column: string]: string}
  key: string[]
  /** What follows `CREATE [UNIQUE] INDEX ON <table>`, each beginning with `(` or `UNIQUE (`. */
  indexes?: string[]
  /** Fed by itself and more at once: for rows that are dear to write and that hardly anybody waits for. */
  apart?: boolean
  handlers: Handlers
  /** One for each column that says whose words the row holds. What it leaves must be what a fold with no key gives. */
  erased?: Erased[]
}): ReadTable => {
  const named = [...table.key, ...erased.flatMap(({where, set}) => [where, ...Object.keys(set ?? {})])]
  const unknown = named.find((column) => !(column in table.columns))
  if (unknown !== undefined) throw new Error(`the read table ${table.name} has no column ${unknown}`)
  const made = {
    ...table,
    indexes,
    apart,
    erased,
    view: `read.${table.name}_v${table.version}`,
    handlers: handlers as ReadTable['handlers'],
  }
  all.add(made)
  return made
}

const all = new WeakSet<object>()

export const isReadTable = (value: unknown): value is ReadTable =>
  typeof value === 'object' && value !== null && all.has(value)

/** A statement with its parameters, numbered from `$1`. */
export type Statement = {text: string; values: unknown[]}

/** Rows that are not there yet, as `COPY` reads them: for many of them that is several times as fast as a statement. */
export type Copy = {text: string; rows: Buffer}

type Change =
  | {kind: 'put'; row: Row}
  | {kind: 'patch'; key: Row; values: Row; amounts: {[column: string]: number}}
  | {kind: 'remove'; key: Row}

/** The changes of one run of events to one table, at most one a row. */
export const foldRows = (
  table: ReadTable,
): Rows & {statements(target: string): Statement[]; copy(target: string): Copy | null; size(): number} => {
  const changes = new Map<string, Change>()
  const keyOf = (row: Row): string => table.key.map((column) => `${row[column]}`).join('\0')
  const keyColumns = (row: Row): Row => Object.fromEntries(table.key.map((column) => [column, row[column]!]))

  const change = (key: Row, values: Row, amounts: {[column: string]: number}): void => {
    const id = keyOf(key)
    const before = changes.get(id)
    if (before?.kind === 'remove') return
    if (before?.kind === 'put') {
      Object.assign(before.row, values)
      for (const [column, amount] of Object.entries(amounts)) before.row[column] = Number(before.row[column]) + amount
      return
    }
    if (!before) {
      changes.set(id, {kind: 'patch', key: keyColumns(key), values: {...values}, amounts: {...amounts}})
      return
    }
    Object.assign(before.values, values)
    for (const column of Object.keys(values)) delete before.amounts[column]
    for (const [column, amount] of Object.entries(amounts)) {
      const into = column in before.values ? before.values : before.amounts
      into[column] = Number(into[column] ?? 0) + amount
    }
  }

  return {
    put: (row) => changes.set(keyOf(row), {kind: 'put', row: {...row}}),
    patch: (key, values) => change(key, values, {}),
    add: (key, amounts) => change(key, {}, amounts),
    remove: (key) => changes.set(keyOf(key), {kind: 'remove', key: keyColumns(key)}),
    size: () => changes.size,
    // Null: there are none, or there is more to be done than to put some.
    copy: (target) => {
      const puts: Row[] = []
      for (const one of changes.values()) {
        if (one.kind !== 'put') return null
        puts.push(one.row)
      }
      return puts.length > 0 ? copyOf(table, target, puts) : null
    },
    statements: (target) => {
      const puts: Row[] = []
      const removes: Row[] = []
      // Patches of the same columns are one statement.
      const patches = new Map<string, {key: Row; values: Row; amounts: {[column: string]: number}}[]>()
      for (const one of changes.values()) {
        if (one.kind === 'put') puts.push(one.row)
        else if (one.kind === 'remove') removes.push(one.key)
        else {
          const shape = `${Object.keys(one.values).sort()}|${Object.keys(one.amounts).sort()}`
          const same = patches.get(shape)
          if (same) same.push(one)
          else patches.set(shape, [one])
        }
      }
      const statements: Statement[] = []
      if (removes.length > 0) statements.push(removeStatement(table, target, removes))
      if (puts.length > 0) statements.push(putStatement(table, target, puts))
      for (const same of patches.values()) statements.push(patchStatement(table, target, same))
      return statements
    },
  }
}

const arrays = (table: ReadTable, columns: string[], rows: Row[]): {sql: string; values: unknown[]} => ({
  sql: columns.map((column, index) => `$${index + 1}::${table.columns[column]}[]`).join(', '),
  values: columns.map((column) => arrayOf(rows, column)),
})

/** As PostgreSQL writes an array. Written here, so that it is done when the statement's turn comes; and once, not for each element. */
const arrayOf = (rows: Row[], column: string): string => {
  const elements = rows.map((row) => {
    const value = row[column] ?? null
    if (typeof value !== 'string') return value === null ? 'NULL' : String(value)
    return `"${SPECIAL.test(value) ? value.replace(/["\\]/g, '\\$&') : value}"`
  })
  return `{${elements.join(',')}}`
}
const SPECIAL = /["\\]/

const copyOf = (table: ReadTable, target: string, rows: Row[]): Copy => {
  const columns = Object.keys(table.columns)
  const lines = rows.map((row) => {
    let line = ''
    for (const [index, column] of columns.entries()) line += `${index === 0 ? '' : '\t'}${fieldOf(row[column] ?? null)}`
    return `${line}\n`
  })
  return {text: `COPY ${target} (${columns.join(', ')}) FROM STDIN`, rows: Buffer.from(lines.join(''))}
}

const fieldOf = (value: Value): string => {
  if (typeof value !== 'string') return value === null ? '\\N' : String(value)
  return COPY_SPECIAL.test(value) ? value.replace(/[\\\n\r\t]/g, (special) => ESCAPED[special]!) : value
}
const COPY_SPECIAL = /[\\\n\r\t]/
/** PostgreSQL documentation, COPY, "Text Format". */
const ESCAPED: {[special: string]: string} = {'\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t'}

const putStatement = (table: ReadTable, target: string, rows: Row[]): Statement => {
  const columns = Object.keys(table.columns)
  const {sql, values} = arrays(table, columns, rows)
  const rest = columns.filter((column) => !table.key.includes(column))
  const conflict = rest.length > 0 ? `UPDATE SET ${rest.map((c) => `${c} = excluded.${c}`).join(', ')}` : 'NOTHING'
  return {
    text: `INSERT INTO ${target} (${columns.join(', ')}) SELECT * FROM unnest(${sql}) ON CONFLICT (${table.key.join(', ')}) DO ${conflict}`,
    values,
  }
}

const removeStatement = (table: ReadTable, target: string, keys: Row[]): Statement => {
  const columns = [...table.key]
  const {sql, values} = arrays(table, columns, keys)
  return {
    text: `DELETE FROM ${target} t USING unnest(${sql}) AS n(${columns.join(', ')}) WHERE ${same(columns)}`,
    values,
  }
}

const patchStatement = (
  table: ReadTable,
  target: string,
  patches: {key: Row; values: Row; amounts: {[column: string]: number}}[],
): Statement => {
  const set = Object.keys(patches[0]!.values)
  const added = Object.keys(patches[0]!.amounts)
  const columns = [...table.key, ...set, ...added]
  const rows = patches.map(({key, values, amounts}) => ({...key, ...values, ...amounts}))
  const {sql, values} = arrays(table, columns, rows)
  const changes = [...set.map((c) => `${c} = n.${c}`), ...added.map((c) => `${c} = t.${c} + n.${c}`)]
  return {
    text: `UPDATE ${target} t SET ${changes.join(', ')} FROM unnest(${sql}) AS n(${columns.join(', ')}) WHERE ${same(table.key)}`,
    values,
  }
}

const same = (columns: readonly string[]): string => columns.map((column) => `t.${column} = n.${column}`).join(' AND ')

/** What an erasure of this person does to the table. */
export const eraseStatements = (table: ReadTable, target: string, person: string): Statement[] =>
  table.erased.map(({where, set}) => {
    if (set === null) return {text: `DELETE FROM ${target} WHERE ${where} = $1`, values: [person]}
    const columns = Object.keys(set)
    const values = columns.map((column, index) => `${column} = $${index + 2}::${table.columns[column]}`)
    return {
      text: `UPDATE ${target} SET ${values.join(', ')} WHERE ${where} = $1`,
      values: [person, ...Object.values(set)],
    }
  })
