import {randomUUID} from 'node:crypto'
import fc from 'fast-check'
import {Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {
  eraseStatements,
  foldRows,
  type Row,
  type Rows,
  readTable,
  type Statement,
} from '../../src/projections/readTable.ts'
import {createDatabase} from '../support/database.ts'

const table = readTable({
  name: 'counters',
  version: 7,
  columns: {a: 'text', b: 'int', name: 'text', note: 'text', count: 'int', total: 'bigint', at: 'timestamptz'},
  key: ['a', 'b'],
  handlers: {},
  erased: [
    {where: 'name', set: {note: '[erased]', count: 0}},
    {where: 'note', set: null},
  ],
})

let pool: Pool
beforeAll(async () => {
  pool = new Pool({connectionString: await createDatabase(), max: 1, options: '-c synchronous_commit=off'})
})
afterAll(() => pool.end())

const newTarget = async (): Promise<string> => {
  const target = `t_${randomUUID().replaceAll('-', '')}`
  const declared = Object.entries(table.columns).map(([name, type]) => `${name} ${type}`)
  await pool.query(`CREATE TEMP TABLE ${target} (${declared.join(', ')}, PRIMARY KEY (a, b))`)
  return target
}
/** As the runner does it: all statements of a run are one. */
const run = async (statements: Statement[]): Promise<void> => {
  const values: unknown[] = []
  const parts = statements.map(({text, values: own}, index) => {
    const offset = values.length
    values.push(...own)
    return `c${index} AS (${text.replace(/\$(\d+)/g, (_, n) => `$${Number(n) + offset}`)})`
  })
  if (parts.length > 0) await pool.query(`WITH ${parts.join(', ')} SELECT 1`, values)
}
const rowsOf = async (target: string): Promise<Row[]> =>
  (await pool.query(`SELECT * FROM ${target} ORDER BY a, b`)).rows

type Operation = (rows: Rows) => void
const row = (a: string, b: number, rest: Row = {}): Row => ({
  a,
  b,
  name: null,
  note: null,
  count: 0,
  total: 0,
  at: null,
  ...rest,
})

const apply = async (target: string, runs: Operation[][]): Promise<void> => {
  for (const operations of runs) {
    const rows = foldRows(table)
    for (const operation of operations) operation(rows)
    await run(rows.statements(target))
  }
}

describe('foldRows', () => {
  const key = fc.record({
    a: fc.constantFrom('x', 'y'),
    b: fc.integer({min: 0, max: 1}),
  })
  const text = fc.constantFrom('one', "it's", '', '漢', null)
  const amount = fc.integer({min: -3, max: 3})
  const operation: fc.Arbitrary<Operation> = fc.oneof(
    fc.tuple(key, text, text, amount).map(
      ([{a, b}, name, note, count]): Operation =>
        (rows) =>
          rows.put(row(a, b, {name, note, count, total: count, at: '2025-01-01T00:00:00.000Z'})),
    ),
    fc
      .tuple(
        key,
        fc.oneof(
          fc.record({name: text}),
          fc.record({note: text}),
          fc.record({name: text, note: text}),
          fc.record({count: amount}),
        ),
      )
      .map(
        ([key, values]): Operation =>
          (rows) =>
            rows.patch(key, values as Row),
      ),
    fc
      .tuple(
        key,
        fc.oneof(fc.record({count: amount}), fc.record({total: amount}), fc.record({count: amount, total: amount})),
      )
      .map(
        ([key, amounts]): Operation =>
          (rows) =>
            rows.add(key, amounts as {[column: string]: number}),
      ),
    key.map(
      (key): Operation =>
        (rows) =>
          rows.remove(key),
    ),
  )

  it('gives the same rows for a run of operations as for each by itself', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(operation, {maxLength: 12}),
        fc.array(operation, {maxLength: 12}),
        async (before, after) => {
          const [together, singly] = [await newTarget(), await newTarget()]
          await apply(together, [before, after])
          await apply(
            singly,
            [...before, ...after].map((one) => [one]),
          )
          expect(await rowsOf(together)).toEqual(await rowsOf(singly))
          await pool.query(`DROP TABLE ${together}, ${singly}`)
        },
      ),
      {numRuns: 40},
    )
  })

  it('touches each row once, and writes rows with the same change in one statement', () => {
    const rows = foldRows(table)
    for (let b = 0; b < 100; b++) {
      rows.put(row('put', b))
      rows.add({a: 'put', b}, {count: 1})
      rows.patch({a: 'patched', b}, {name: 'n'})
      rows.patch({a: 'patched', b}, {name: 'm'})
      rows.remove({a: 'removed', b})
    }
    expect(rows.size()).toBe(300)
    const statements = rows.statements('t')
    expect(statements.map(({text}) => text.split(' ')[0])).toEqual(['DELETE', 'INSERT', 'UPDATE'])
    for (const {values} of statements) for (const column of values) expect(String(column).split(',')).toHaveLength(100)
  })

  it('changes nothing of a row that is not there', async () => {
    const target = await newTarget()
    await apply(target, [
      [(rows) => rows.patch({a: 'x', b: 1}, {name: 'n'}), (rows) => rows.add({a: 'x', b: 2}, {count: 1})],
    ])
    expect(await rowsOf(target)).toEqual([])
  })

  it('takes a row that is put and removed for one that is not there, whatever comes after', async () => {
    const target = await newTarget()
    await apply(target, [
      [
        (rows) => rows.put(row('x', 1)),
        (rows) => rows.remove({a: 'x', b: 1}),
        (rows) => rows.patch({a: 'x', b: 1}, {name: 'n'}),
        (rows) => rows.add({a: 'x', b: 1}, {count: 1}),
      ],
    ])
    expect(await rowsOf(target)).toEqual([])
  })

  it('does not keep what a handler may change later', async () => {
    const target = await newTarget()
    const given = row('x', 1, {name: 'first'})
    const rows = foldRows(table)
    rows.put(given)
    given.name = 'second'
    await run(rows.statements(target))
    expect(await rowsOf(target)).toMatchObject([{name: 'first'}])
  })

  it('writes nothing for no change', () => {
    expect(foldRows(table).statements('t')).toEqual([])
  })
})

describe('readTable', () => {
  it('names its view after the table and the version of its shape', () => {
    expect(table.view).toBe('read.counters_v7')
  })
})

describe('eraseStatements', () => {
  it('rewrites or removes the rows of one person, by each column that says whose they are', async () => {
    const target = await newTarget()
    await apply(target, [
      [
        (rows) => rows.put(row('x', 1, {name: 'ann', note: 'hers', count: 5})),
        (rows) => rows.put(row('x', 2, {name: 'bob', note: 'ann'})),
        (rows) => rows.put(row('x', 3, {name: 'bob', note: 'his', count: 5})),
      ],
    ])
    for (const {text, values} of eraseStatements(table, target, 'ann')) await pool.query(text, values)
    expect(await rowsOf(target)).toEqual([
      row('x', 1, {name: 'ann', note: '[erased]', count: 0, total: '0'}),
      row('x', 3, {name: 'bob', note: 'his', count: 5, total: '0'}),
    ])
  })
})
