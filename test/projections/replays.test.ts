import {randomUUID} from 'node:crypto'
import {Client} from 'pg'
import {afterEach, beforeAll, describe, expect, it} from 'vitest'
import type {UserId} from '../../src/domain/user.ts'
import {newPostId, newRoomId, newUserId} from '../../src/keys/ids.ts'
import {historyUpTo} from '../../src/operations/moment.ts'
import {dropReplays, replay, targetIn} from '../../src/projections/replays.ts'
import {tables} from '../../src/projections/tables.ts'
import {attempted, claimed, declined, invited, joined, left, postCreated, roomCreated, sent} from '../support/events.ts'
import {type Feeder, overEachLog} from '../support/place.ts'
import {identityOf, person} from '../support/specification.ts'

describe('replay', () => {
  overEachLog((here) => {
    let feeder: Feeder
    let client: Client
    beforeAll(async () => {
      feeder = await here.place.startFeeder()
      client = new Client({connectionString: here.place.databaseUrl})
      await client.connect()
      return () => client.end()
    })
    afterEach(() => dropReplays(here.place.pool))

    const query = async (text: string, values: unknown[] = []) => (await here.place.pool.query(text, values)).rows
    const schemas = async () =>
      (await query(`SELECT nspname AS name FROM pg_namespace WHERE nspname LIKE 'r\\_%' ORDER BY 1`)).map(
        ({name}) => name,
      )
    const newSchema = () => `r_${randomUUID().replaceAll('-', '')}`
    const replayTo = async (position: bigint, schema = newSchema()) => {
      const history = historyUpTo(here.place.log, {position})
      const done = await replay(client, here.place.codec, {schema, tables, asOf: `as of ${position}`}, history)
      expect(done.position).toBe(position)
      return schema
    }
    /** How the live tables are now, each in a copy. */
    const keep = async () => {
      await feeder.caughtUp()
      const schema = `kept_${randomUUID().replaceAll('-', '')}`
      await query(`CREATE SCHEMA ${schema}`)
      for (const table of tables) await query(`CREATE TABLE ${targetIn(schema, table)} AS SELECT * FROM ${table.view}`)
      return {schema, position: (await here.place.log.head())!}
    }
    /** Rows of either schema that are not in the other. */
    const differences = async (one: string, other: string) => {
      const found: [string, object][] = []
      for (const table of tables) {
        const [a, b] = [one, other].map((schema) => `SELECT * FROM ${targetIn(schema, table)}`)
        for (const row of await query(`(${a} EXCEPT ALL ${b}) UNION ALL (${b} EXCEPT ALL ${a})`))
          found.push([table.name, row])
      }
      return found
    }
    const community = async () => {
      const [ann, bob] = [newUserId('email'), newUserId('email')].map((userId) => ({...person(userId), userId}))
      const roomId = newRoomId()
      for (const one of [ann!, bob!])
        await here.place.given(
          attempted(one.userId, identityOf(one.userId), {username: 'Somebody'}),
          claimed(identityOf(one.userId), one.userId),
        )
      await here.place.given(
        postCreated(newPostId(), ann!, {title: 'Hello', body: 'of Ann', attachments: []}),
        roomCreated(roomId, ann!),
        joined(roomId, ann!),
        invited(roomId, bob!.identity!, ann!),
        sent(roomId, 0, ann!, {content: 'words of Ann'}),
      )
      return {ann: ann!, bob: bob!, roomId}
    }
    const erase = async (userId: UserId) => {
      await here.place.personKeys.destroy(userId)
      await here.place.given({type: 'UserErased', data: {userId}})
    }

    it('gives the tables as they stood, of any earlier moment, with their names and indexes', async () => {
      const {ann, bob, roomId} = await community()
      const first = await keep()
      await here.place.given(joined(roomId, bob, bob.identity!), sent(roomId, 1, bob), left(roomId, ann))
      const second = await keep()
      await here.place.given(invited(roomId, ann.identity!, bob), declined(roomId, ann), sent(roomId, 2, bob))
      await feeder.caughtUp()
      for (const {schema, position} of [first, second]) {
        expect(await differences(schema, await replayTo(position))).toEqual([])
      }
      expect(await differences(first.schema, second.schema)).not.toEqual([])
      const indexes = await query(
        `SELECT count(*) FILTER (WHERE schemaname = 'read') AS live, count(*) FILTER (WHERE schemaname = $1) AS replayed
         FROM pg_indexes WHERE schemaname = $1 OR (schemaname = 'read' AND tablename ~ '_g\\d+$')`,
        [(await schemas())[0]],
      )
      expect(indexes[0].replayed).toBe(indexes[0].live)
    })

    it('gives all but what was erased since', async () => {
      const {ann, bob} = await community()
      const before = await keep()
      await erase(ann.userId)
      const rows = await differences(before.schema, await replayTo(before.position))
      expect(rows.length).toBeGreaterThan(0)
      for (const [, row] of rows) expect(Object.values(row)).toContain(ann.userId)
      const replayed = JSON.stringify(
        await query(`SELECT * FROM ${(await schemas())[0]}.posts WHERE author_id = $1`, [ann.userId]),
      )
      expect(replayed).toContain('[erased]')
      expect(replayed).not.toContain('of Ann')
      expect(
        await query(`SELECT username FROM ${(await schemas())[0]}.users WHERE user_id = $1`, [bob.userId]),
      ).toEqual([{username: 'Somebody'}])
    })

    it('takes no name that is taken, and leaves nothing where it fails', async () => {
      const {ann, roomId} = await community()
      const schema = await replayTo((await here.place.log.head())!)
      await expect(replayTo(1n, schema)).rejects.toThrow(`There is a schema ${schema} already`)
      const {stream, revision} = {stream: `chat-${roomId}`, revision: 0}
      const appended = await here.place.log.append(
        stream,
        [{id: randomUUID(), type: 'MessageSent', data: {roomId, senderId: ann.userId}, metadata: {}}],
        revision,
      )
      expect(appended.ok).toBe(true)
      await expect(replayTo((await here.place.log.head())!)).rejects.toThrow(
        /messages can't take event .* at position \d+ \(revision 1 of chat-/,
      )
      expect(await schemas()).toEqual([schema])
    })
  })

  describe('dropReplays', () => {
    overEachLog((here) => {
      beforeAll(async () => {
        await here.place.given(roomCreated(newRoomId(), person('Ann')))
      })
      const connect = async () => {
        const client = new Client({connectionString: here.place.databaseUrl})
        client.on('error', () => {})
        await client.connect()
        return client
      }
      const replayNow = async (schema: string, history = historyUpTo(here.place.log, null)) =>
        replay(await connect(), here.place.codec, {schema, tables, asOf: 'now'}, history)
      const schemas = async () =>
        (
          await here.place.pool.query(`SELECT nspname FROM pg_namespace WHERE nspname ~ '^(r|own)_' ORDER BY 1`)
        ).rows.map(({nspname}) => nspname)

      it('drops every replay, whatever it is called by now, and nothing else', async () => {
        await replayNow('r_one')
        await replayNow('r_two')
        await here.place.pool.query('ALTER SCHEMA r_two RENAME TO own_name')
        await here.place.pool.query('CREATE SCHEMA own_notes')
        await dropReplays(here.place.pool)
        expect(await schemas()).toEqual(['own_notes'])
      })

      it('does not wait for who reads one for long, also where several drop', async () => {
        await replayNow('r_read')
        const reader = await connect()
        await reader.query('BEGIN')
        await reader.query('SELECT * FROM r_read.rooms')
        await Promise.all([1, 2, 3].map(() => dropReplays(here.place.pool)))
        expect(await schemas()).toEqual(['own_notes'])
        await expect(reader.query('SELECT 1')).rejects.toThrow()
      })

      it('ends a replay that is being made, which says so and leaves nothing', async () => {
        const [begun, dropped] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
        const history = async function* () {
          for await (const page of historyUpTo(here.place.log, null)) {
            begun.resolve()
            await dropped.promise
            yield page
          }
        }
        const replaying = replayNow('r_making', history())
        replaying.catch(() => {})
        await begun.promise
        await dropReplays(here.place.pool)
        dropped.resolve()
        await expect(replaying).rejects.toThrow('run it again')
        expect(await schemas()).toEqual(['own_notes'])
      })
    })
  })
})
