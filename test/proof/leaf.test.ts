import {randomUUID} from 'node:crypto'
import fc from 'fast-check'
import {expect, it} from 'vitest'
import type {JsonObject, LogRecord} from '../../src/log/eventLog.ts'
import {leafOf, leafOrNone} from '../../src/proof/leaf.ts'
import {overEachLog} from '../support/place.ts'

const record = {
  stream: 'room-1',
  revision: 3,
  id: randomUUID(),
  type: 'Happened',
  data: {a: 1, b: [1e21]},
  metadata: {},
}

overEachLog((here) => {
  it('is the same before an event is stored and after it is read', async () => {
    const {log} = here.place
    const word = fc.string({unit: 'binary', maxLength: 8}).filter((text) => text.isWellFormed() && !text.includes('\0'))
    const number = fc.oneof(fc.double({noNaN: true, noDefaultInfinity: true}), fc.maxSafeInteger(), fc.constant(-0))
    const {json} = fc.letrec<{json: unknown; object: unknown}>((tie) => ({
      json: fc.oneof(
        {maxDepth: 3},
        word,
        number,
        fc.boolean(),
        fc.constant(null),
        fc.array(tie('json')),
        tie('object'),
      ),
      object: fc.dictionary(word, tie('json'), {maxKeys: 5}),
    }))
    const object = fc.dictionary(word, json, {maxKeys: 5}) as fc.Arbitrary<JsonObject>
    await fc.assert(
      fc.asyncProperty(object, object, async (data, metadata) => {
        const stream = `s-${randomUUID()}`
        const event = {id: randomUUID(), type: 'Happened', data, metadata}
        expect(await log.append(stream, [event], 'none')).toMatchObject({ok: true})
        const read: LogRecord[] = []
        for await (const one of log.readStream(stream)) read.push(one)
        expect(leafOf(read[0]!)).toEqual(leafOf({...event, stream, revision: 0}))
      }),
      {numRuns: 50},
    )
  })
})

it('is another for each thing that is changed', () => {
  const changes: Partial<LogRecord>[] = [
    {stream: 'room-2'},
    {revision: 4},
    {id: randomUUID()},
    {type: 'Other'},
    {data: {a: 1, b: [1e21 + 2 ** 20]}},
    {data: {a: 1, b: [1e21], c: null}},
    {metadata: {a: 1}},
  ]
  const leaves = [record, ...changes.map((change) => ({...record, ...change}))].map((one) =>
    leafOf(one).toString('hex'),
  )
  expect(new Set(leaves).size).toBe(changes.length + 1)
})

it('does not know position, key order or spelling', () => {
  const spelled = {data: JSON.parse('{"b": [1000000000000000000000.0], "a": 1.0}'), position: 7n}
  expect(leafOf({...record, ...spelled})).toEqual(leafOf(record))
})

it('is nobody’s where what is stored has no canonical form', () => {
  for (const data of [
    {a: JSON.parse('1e999')},
    {a: '\ud800'},
    JSON.parse(`${'['.repeat(50_000)}${']'.repeat(50_000)}`),
  ])
    expect(leafOrNone({...record, data})).toEqual(Buffer.alloc(32))
})
