import {Client, type Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {findMarked, listMessages} from '../../src/projections/messages.ts'
import {findPost, listPosts} from '../../src/projections/posts.ts'
import {listInvitations, listRoomIdsOf} from '../../src/projections/roomInvitations.ts'
import {listMembers} from '../../src/projections/roomMembers.ts'
import {
  findRoom,
  listAllRooms,
  listMessagesFor,
  listOpenRooms,
  listRoomsOf,
  listSmallRoomsOf,
} from '../../src/projections/rooms.ts'
import {queryOf, searchStatement} from '../../src/projections/search.ts'
import {tables} from '../../src/projections/tables.ts'
import {findOpenAttempts, findUser, listAttemptsBeside} from '../../src/projections/users.ts'
import {eventually} from '../support/eventually.ts'
import {openPlace, type Place} from '../support/place.ts'

const ROWS = 100_000

/** 100,000 rows a table; the first room has a tenth of all members and messages, the first person is in 200 rooms. */
const FILL = `
INSERT INTO read.users_v1 (user_id, identity, provider, email, username, has_password, verified, position)
  SELECT 'u' || n, 'i' || n, 'email', 'x', 'x', true, true, n FROM generate_series(1, ${ROWS}) n;
INSERT INTO read.posts_v1 (id, author_id, author_name, title, body, attachments, created_at, position)
  SELECT 'p' || n, 'u' || n % 1000, 'x', 'x', 'x', '[]', now(), n FROM generate_series(1, ${ROWS}) n;
INSERT INTO read.rooms_v1 (room_id, name, visibility, created_by, created_at, member_count, last_seq, position)
  SELECT 'r' || n, 'x', CASE WHEN n % 10 = 0 THEN 'open' ELSE 'invite' END, 'u1', now(), 10, 9, n FROM generate_series(1, ${ROWS}) n;
INSERT INTO read.room_members_v1 (room_id, user_id, username, is_bot, joined_at, position)
  SELECT 'r' || CASE WHEN n % 10 = 0 THEN 1 ELSE n / 4 END, 'u' || n, 'x', false, now(), n FROM generate_series(2, ${ROWS}) n;
INSERT INTO read.room_members_v1 (room_id, user_id, username, is_bot, joined_at, position)
  SELECT 'r' || n * 100, 'u1', 'x', false, now(), ${ROWS} + n FROM generate_series(1, 200) n;
INSERT INTO read.room_invitations_v1 (room_id, invitee, inviter_id, inviter_name, invited_at, position)
  SELECT 'r' || n, 'i' || n % 5000, 'u1', 'x', now(), n FROM generate_series(1, ${ROWS}) n;
INSERT INTO state.read_marks (user_id, room_id, seq)
  SELECT 'u' || n % 500, 'r' || n, 5 FROM generate_series(1, ${ROWS}) n;
`

let place: Place
let client: Client
beforeAll(async () => {
  place = await openPlace()
  const feeder = await place.startFeeder()
  await feeder.caughtUp()
  await eventually(() => feeder.applied.building(tables).length === 0)
  client = new Client({connectionString: place.databaseUrl})
  await client.connect()
  await client.query(FILL)
  const [messages, search] = ['messages', 'search'].map((name) => tables.find((table) => table.name === name)!.view)
  await client.query(
    `INSERT INTO ${messages} (room_id, seq, id, user_id, username, is_bot, content, nonce, created_at, position)
     SELECT CASE WHEN n <= 10000 THEN 'r1' ELSE 'r' || n / 10 END, n, 'm' || n, 'u' || n % 1000, 'x', false, 'x', 'n' || n, now(), n
     FROM generate_series(1, ${ROWS}) n`,
  )
  await client.query(
    `INSERT INTO ${search} (position, room_id, seq, author_id, words)
     SELECT n, CASE WHEN n % 2 = 0 THEN '' ELSE 'r' || n / 10 END, n, 'u1', ('w' || n % 5000)::tsvector
     FROM generate_series(1, ${ROWS}) n`,
  )
  await client.query('ANALYZE')
})
afterAll(async () => {
  await client.end()
  await place.close()
})

type Plan = {
  'Node Type': string
  'Relation Name'?: string
  'Actual Rows': number
  'Rows Removed by Filter'?: number
  Plans?: Plan[]
}
const nodesOf = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]

/** A pool that explains what it is asked instead of answering it. */
const explaining = (plans: Plan[]): Pool =>
  ({
    query: async (asked: string | {text: string; values?: unknown[]}, given?: unknown[]) => {
      const {text, values = given} = typeof asked === 'string' ? {text: asked} : asked
      const {rows} = await client.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${text}`, values ?? [])
      plans.push(rows[0]['QUERY PLAN'][0].Plan)
      return {rows: [{}], rowCount: 0}
    },
  }) as unknown as Pool

const page = {before: null, limit: 101}
const reader = {userId: 'u1', isBot: false, unstored: {}}
const lists: {[name: string]: (pool: Pool) => Promise<unknown>} = {
  'listPosts: the newest': (pool) => listPosts(pool, {limit: 101, bytes: 4_000_000}),
  'listPosts: a page': (pool) => listPosts(pool, {before: 50_000n, limit: 101, bytes: 4_000_000}),
  'listPosts: a short page': (pool) => listPosts(pool, {before: 50_000n, limit: 21, bytes: 4_000_000}),
  'listPosts: what is new': (pool) => listPosts(pool, {after: 99_990n, limit: 101, bytes: 4_000_000}),
  findPost: (pool) => findPost(pool, 'p5'),
  findUser: (pool) => findUser(pool, 'u5'),
  findOpenAttempts: (pool) => findOpenAttempts(pool, 'i5' as never),
  listAttemptsBeside: (pool) => listAttemptsBeside(pool, 'u5' as never, 'i5' as never),
  'listMessages: the newest': (pool) => listMessages(pool, 'r1', {limit: 50}),
  'listMessages: before': (pool) => listMessages(pool, 'r1', {before: 5_000, limit: 50}),
  'listMessages: since': (pool) => listMessages(pool, 'r1', {since: 5_000, limit: 50}),
  'listMessagesFor: the newest': (pool) => listMessagesFor(pool, 'u10', 'r1', {limit: 50}),
  'listMessagesFor: since': (pool) => listMessagesFor(pool, 'u10', 'r1', {since: 5_000, limit: 50}),
  findMarked: (pool) => findMarked(pool, 'r1' as never, {senderId: 'u5', nonce: 'n5', key: null} as never),
  listRoomsOf: (pool) => listRoomsOf(pool, reader, page),
  listOpenRooms: (pool) => listOpenRooms(pool, reader, page),
  'listOpenRooms: a page': (pool) => listOpenRooms(pool, reader, {before: 50_000n, limit: 101}),
  listAllRooms: (pool) => listAllRooms(pool, reader, page),
  findRoom: (pool) => findRoom(pool, reader, 'r1'),
  listSmallRoomsOf: (pool) => listSmallRoomsOf(pool, ['u1', 'u2'], 200),
  'listMembers: the first': (pool) => listMembers(pool, 'r1', {after: null, limit: 501}),
  'listMembers: a page': (pool) => listMembers(pool, 'r1', {after: 5_000n, limit: 501}),
  listInvitations: (pool) => listInvitations(pool, 'i5'),
  listRoomIdsOf: (pool) => listRoomIdsOf(pool, 'u1', 'i5'),
  'search: anybody': (pool) => {
    const {text, values} = searchStatement(queryOf('"w17"')!, null, {after: null, limit: 21, bytes: 4_000_000})
    return pool.query(text, values)
  },
}

describe('at 100,000 rows', () => {
  it.each(Object.keys(lists))('%s reads by an index what it gives, and little more', async (name) => {
    const plans: Plan[] = []
    // What a function makes of an answer that is a plan is not asked here.
    await lists[name]!(explaining(plans)).catch(() => {})
    expect(plans.length).toBeGreaterThan(0)
    for (const plan of plans) {
      const nodes = nodesOf(plan)
      expect(nodes.map((node) => node['Node Type'])).not.toContain('Seq Scan')
      expect(nodes.some((node) => /Index|Bitmap/.test(node['Node Type']))).toBe(true)
      const readTooMuch = nodes.filter((node) => node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) >= 2_000)
      expect(readTooMuch).toEqual([])
    }
  })
})
