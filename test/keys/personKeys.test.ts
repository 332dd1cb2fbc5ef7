import {randomBytes, randomUUID} from 'node:crypto'
import {Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {openExecute} from '../../src/commands/execute.ts'
import {newRoomId, newUserId} from '../../src/keys/ids.ts'
import {openPersonKeys, type PersonKeys} from '../../src/keys/personKeys.ts'
import {isFaulty, openCodec} from '../../src/log/codec.ts'
import type {EventLog} from '../../src/log/eventLog.ts'
import {roomFold, roomStream} from '../../src/streams/streams.ts'
import {joined, roomCreated} from '../support/events.ts'
import {overEachLog} from '../support/place.ts'

describe('openPersonKeys', () => {
  overEachLog((here) => {
    const wrappingKey = randomBytes(32)
    let pool: Pool
    let asked = 0
    beforeAll(() => {
      pool = new Pool({connectionString: here.place.databaseUrl, max: 4})
      const query = pool.query.bind(pool) as (...args: unknown[]) => unknown
      pool.query = ((...args: unknown[]) => {
        asked++
        return query(...args)
      }) as typeof pool.query
    })
    afterAll(() => pool.end())
    const openNode = (): PersonKeys => openPersonKeys({pool, wrappingKey})
    const keyOf = async (keys: PersonKeys, who: string, how: 'find' | 'provide' = 'find') =>
      (await keys[how]([who])).get(who)

    it('gives one person one key, also where many nodes ask for it at once', async () => {
      for (let round = 0; round < 10; round++) {
        const who = newUserId('email')
        const keys = await Promise.all(Array.from({length: 4}, openNode).map((node) => keyOf(node, who, 'provide')))
        expect(new Set(keys.map((key) => key!.toString('hex'))).size).toBe(1)
        expect(keys[0]).toHaveLength(32)
        expect(await keyOf(openNode(), who)).toEqual(keys[0])
      }
      expect(await keyOf(openNode(), newUserId('email'))).toBeNull()
    })

    it('keeps a key before the event that needs it, so that no crash leaves an event without one', async () => {
      const {log} = here.place
      const personKeys = openNode()
      const found: boolean[] = []
      let isKilled = false
      // Looked at from outside at the moment in which the log is asked to take the event.
      const watched: EventLog = {
        ...log,
        append: async (stream, records, expected) => {
          const {userId} = records[0]!.data as {userId: string}
          const {rows} = await here.place.pool.query('SELECT wrapped FROM keys.people WHERE person = $1', [userId])
          found.push(rows[0]?.wrapped instanceof Buffer)
          if (isKilled) throw new Error('killed')
          return log.append(stream, records, expected)
        },
      }
      const execute = openExecute({log: watched, codec: openCodec(personKeys)})
      const join = (userId = newUserId('email')) => {
        const roomId = newRoomId()
        const ann = {userId, username: 'Ann', isBot: false, identity: null}
        const context = {name: 'test', actor: null, correlationId: randomUUID()}
        const command = execute.execute(roomStream(roomId), roomFold, context, () => [joined(roomId, ann)])
        return {userId, roomId, command}
      }
      isKilled = true
      const {userId, roomId, command} = join()
      await expect(command).rejects.toThrow('killed')
      const records = []
      for await (const record of log.readStream(roomStream(roomId))) records.push(record)
      expect(records).toEqual([])
      isKilled = false
      const again = join(userId)
      await again.command
      expect(found).toEqual([true, true])
      for await (const record of log.readStream(roomStream(again.roomId))) {
        const [event] = await openCodec(openNode()).decode([record])
        expect(event).toMatchObject({data: {username: 'Ann'}})
      }
    })

    it('never makes again what was destroyed, and says so however it is asked', async () => {
      const who = newUserId('email')
      const [one, two] = [openNode(), openNode()]
      await keyOf(one, who, 'provide')
      await one.destroy(who)
      await one.destroy(who)
      for (const node of [one, two]) {
        expect(await keyOf(node, who)).toBeNull()
        expect(await keyOf(node, who, 'provide')).toBeNull()
      }
      const never = newUserId('email')
      await one.destroy(never)
      expect(await keyOf(two, never, 'provide')).toBeNull()
    })

    it('marks as erased only whose key is destroyed, once', async () => {
      const who = newUserId('email')
      const node = openNode()
      const at = async () =>
        (await here.place.pool.query('SELECT erased_at FROM keys.people WHERE person = $1', [who])).rows[0].erased_at
      await keyOf(node, who, 'provide')
      await node.markErased(who)
      expect(await at()).toBeNull()
      await node.destroy(who)
      expect(await at()).toBeNull()
      await node.markErased(who)
      const first = await at()
      expect(first).toBeInstanceOf(Date)
      await node.markErased(who)
      expect(await at()).toEqual(first)
    })

    it('asks once for what it remembers, and remembers 20,000 at most, the least recently used not', async () => {
      const node = openNode()
      const people = Array.from({length: 21_000}, () => newUserId('email'))
      await node.provide(people.slice(0, 20_000))
      asked = 0
      await node.find(people.slice(0, 20_000))
      expect(asked).toBe(0)
      await node.find([people[0]!])
      await node.provide(people.slice(20_000))
      asked = 0
      await node.find([people[0]!, people[1_500]!, people[20_999]!])
      expect(asked).toBe(0)
      await node.find([people[1]!])
      expect(asked).toBe(1)
    })

    it('reads nothing with a remembered key from the event on that says it is destroyed', async () => {
      const [one, two] = [openNode(), openNode()]
      const codec = openCodec(two)
      const userId = newUserId('email')
      const roomId = newRoomId()
      const ann = {userId, username: 'Ann', isBot: false, identity: null}
      const metadata = {
        time: new Date().toISOString(),
        actor: null,
        command: 't',
        correlationId: 'c',
        causationId: null,
      }
      const encode = (event: Parameters<typeof codec.encode>[0]['event']) =>
        codec.encode({id: randomUUID(), event, metadata})
      const records = [
        await encode(roomCreated(roomId, ann)),
        await encode(joined(roomId, ann)),
        await encode({type: 'UserErased', data: {userId}}),
        await encode(joined(roomId, ann)),
      ].map((record, index) => ({...record, stream: 'a', revision: index, position: BigInt(index)}))
      const namesIn = async (from: number, to: number) =>
        (await codec.decode(records.slice(from, to))).flatMap((event) =>
          !isFaulty(event) && event.type === 'UserJoined' ? [event.data.username] : [],
        )
      expect(await namesIn(0, 2)).toEqual(['Ann'])
      await one.destroy(userId)
      expect(await namesIn(0, 2)).toEqual(['Ann'])
      expect(await namesIn(2, 4)).toEqual(['[erased]'])
      expect(await namesIn(0, 4)).toEqual(['[erased]', '[erased]'])
    })
  })
})
