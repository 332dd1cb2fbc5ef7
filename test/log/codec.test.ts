import {randomUUID} from 'node:crypto'
import fc from 'fast-check'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import type {DomainEvent} from '../../src/domain/catalogue.ts'
import {newRoomId, newUserId} from '../../src/keys/ids.ts'
import {addressOf, isFaulty} from '../../src/log/codec.ts'
import type {LogRecord, NewRecord} from '../../src/log/eventLog.ts'
import {invited, joined, postCreated, sent} from '../support/events.ts'
import {openPlace, type Place} from '../support/place.ts'

const metadata = {
  time: '2025-01-01T00:00:00.000Z',
  actor: 'email_ann',
  command: 'test',
  correlationId: 'request',
  causationId: null,
}

describe('openCodec', () => {
  let place: Place
  beforeAll(async () => {
    place = await openPlace()
  })
  afterAll(() => place.close())

  const newPerson = (username = 'Ann') => ({userId: newUserId('email'), username, isBot: false, identity: null})
  const encode = (event: DomainEvent) => place.codec.encode({id: randomUUID(), event, metadata})
  const at = (record: NewRecord): LogRecord => ({...record, stream: 'a', revision: 3, position: 12n})
  const decode = async (record: NewRecord) => (await place.codec.decode([at(record)]))[0]!
  const faultOf = async (record: NewRecord): Promise<string> => {
    const event = await decode(record)
    return isFaulty(event) ? event.fault : `no fault: ${JSON.stringify(event.data)}`
  }

  it('gives back what was encoded, also through JSON', async () => {
    const storable = fc
      .string({unit: 'binary', maxLength: 50})
      .filter((text) => !text.includes('\0') && text.isWellFormed())
    await fc.assert(
      fc.asyncProperty(storable, storable, fc.array(storable), async (title, body, attachments) => {
        const event = postCreated('u-1' as never, newPerson(), {title, body, attachments})
        const record = JSON.parse(JSON.stringify(await encode(event))) as NewRecord
        expect(await decode(record)).toEqual({
          ...event,
          id: record.id,
          stream: 'a',
          revision: 3,
          position: 12n,
          metadata: {version: 1, ...metadata},
        })
      }),
      {numRuns: 50},
    )
  })

  it('lifts what was written in an older version', async () => {
    const roomId = newRoomId()
    const older = async (event: DomainEvent, change: (data: {[field: string]: unknown}) => object) => {
      const record = await encode(event)
      const data = change({...record.data}) as NewRecord['data']
      return decode({...record, data, metadata: {...record.metadata, version: 1}})
    }
    const marks = {nonce: [null, 'nonce:a:b', 'key:c'], is: [{nonce: null, key: null}, {nonce: 'a:b'}, {key: 'c'}]}
    for (const [index, nonce] of marks.nonce.entries()) {
      const event = await older(sent(roomId, 0, newPerson()), ({key: _, ...data}) => ({...data, nonce}))
      expect(event).toMatchObject({data: {roomId, nonce: null, key: null, username: 'Ann', ...marks.is[index]}})
    }
    const once = await older(invited(roomId, 'i', newPerson()), ({named: _, standing: __, ...data}) => data)
    expect(once).toMatchObject({data: {roomId, invitee: 'i', named: 'i', standing: 'new', inviterName: 'Ann'}})
  })

  it('leaves nothing personal in clear, and tells no two equal texts from each other', async () => {
    const ann = newPerson('A name that nobody else has')
    const message = sent(newRoomId(), 0, ann, {content: 'a word that nobody else says'})
    const [one, two] = [await encode(message), await encode(message)]
    for (const record of [one, two]) {
      expect(JSON.stringify(record)).not.toMatch(/nobody else/)
      expect(JSON.stringify(record)).not.toContain(Buffer.from('nobody else').toString('base64').slice(0, 12))
    }
    expect(one.data.sealed).not.toEqual(two.data.sealed)
  })

  it('reads what can not be opened any more as erased, and the rest of the event as it is', async () => {
    const ann = newPerson()
    const roomId = newRoomId()
    const records = [
      await encode(joined(roomId, ann)),
      await encode(postCreated('u-1' as never, ann, {title: 'a', body: 'b', attachments: ['https://a.example']})),
    ]
    await place.personKeys.destroy(ann.userId)
    expect(await decode(records[0]!)).toMatchObject(joined(roomId, {...ann, username: '[erased]'}))
    expect(await decode(records[1]!)).toMatchObject({
      data: {authorName: '[erased]', title: '[erased]', body: '[erased]', attachments: []},
    })
    const later = await encode(joined(roomId, ann))
    expect(await decode(later)).toMatchObject({data: {username: '[erased]'}})
  })

  it('takes what was sealed for another event, or changed, for a fault', async () => {
    const ann = newPerson()
    const roomId = newRoomId()
    const [one, two] = [await encode(joined(roomId, ann)), await encode(joined(roomId, ann))]
    expect(await faultOf({...one, data: two.data})).toContain('was not sealed for this event')
    const bob = newPerson('Bob')
    await encode(joined(roomId, bob))
    const moved = [
      {...one, id: two.id},
      {...one, type: 'UserLeft'},
      {...one, data: {...one.data, userId: bob.userId}},
    ]
    for (const record of moved) {
      expect(await faultOf(record)).toContain('was not sealed for this event')
    }
    const {userId} = one.data.sealed as {userId: string}
    const bent = Buffer.from(userId, 'base64')
    bent[30]! ^= 1
    expect(await faultOf({...one, data: {...one.data, sealed: {userId: bent.toString('base64')}}})).toContain(
      'was not sealed for this event',
    )
  })

  it.each([
    ['of a type that is not known', {type: 'Unheard'}, 'the type Unheard is not known'],
    ['of a version that is not known', {metadata: {version: 2, ...metadata}}, 'version 2 of UserJoined is not known'],
    ['without metadata', {metadata: {}}, 'its metadata is not valid'],
    ['with a time that is none', {metadata: {version: 1, ...metadata, time: 'noon'}}, 'its metadata is not valid'],
    ['without data', {data: {}}, 'its data is not valid'],
    ['whose data is null', {data: null}, 'its data is no object'],
    ['whose data is a text', {data: 'text'}, 'its data is no object'],
    ['whose data is a list', {data: []}, 'its data is not valid'],
    ['with a wrong field', {data: {roomId: 17}}, 'its data is not valid'],
  ])('reads an event %s as faulty, never throws, and reads the others', async (_, wrong, why) => {
    const good = await encode(joined(newRoomId(), newPerson()))
    const bad = {...good, id: randomUUID(), ...wrong} as unknown as NewRecord
    const events = await place.codec.decode([good, bad, good].map(at))
    expect(events.map(isFaulty)).toEqual([false, true, false])
    expect(await faultOf(bad)).toContain(why)
    expect(addressOf(events[1]!)).toBe(`event ${bad.id} at position 12 (revision 3 of a)`)
  })

  it.each([
    ['NUL', 'a\0'],
    ['half a surrogate pair', '\ud83d'],
  ])('refuses to encode %s, wherever it stands', async (_, text) => {
    await expect(encode(joined(newRoomId(), newPerson(text)))).rejects.toThrow(TypeError)
    await expect(
      encode(postCreated('u' as never, newPerson(), {title: '', body: '', attachments: [text]})),
    ).rejects.toThrow(TypeError)
    const event = joined(newRoomId(), newPerson())
    await expect(place.codec.encode({id: randomUUID(), event, metadata: {...metadata, command: text}})).rejects.toThrow(
      TypeError,
    )
  })

  it('refuses to encode a number that JSON does not keep', async () => {
    for (const seq of [Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      await expect(encode(sent(newRoomId(), seq, newPerson()))).rejects.toThrow(TypeError)
    }
  })
})
