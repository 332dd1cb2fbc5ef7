import {Pool} from 'pg'
import {afterAll, beforeAll, describe, expect, it, onTestFinished} from 'vitest'
import {makeSchema} from '../../src/database/schema.ts'
import {openPresence, PRESENCE_DDL} from '../../src/edge/presence.ts'
import {createDatabase} from '../support/database.ts'
import {eventually} from '../support/eventually.ts'

const TELL_EVERY_MS = 1_000
const LINGER_MS = 400

let url: string
let pool: Pool
beforeAll(async () => {
  url = await createDatabase()
  pool = new Pool({connectionString: url, max: 1})
  await makeSchema(pool, [PRESENCE_DDL])
})
afterAll(() => pool.end())

type Node = ReturnType<typeof openPresence> & {
  told: {userId: string; online: boolean; at: number}[]
  toldOf(userId: string): boolean[]
}

/** A node that is a little hastier than one in service. */
const startNode = async ({expiresMs = 60_000, beatMs = 200, lingerMs = LINGER_MS} = {}): Promise<Node> => {
  const times = {beatMs, expiresMs, tellEveryMs: TELL_EVERY_MS, lingerMs}
  const presence = openPresence({url, times})
  const told: Node['told'] = []
  presence.listen((userId, online) => told.push({userId, online, at: performance.now()}))
  onTestFinished(presence.stop)
  await presence.start()
  const toldOf = (userId: string) => told.filter((one) => one.userId === userId).map(({online}) => online)
  return {...presence, told, toldOf}
}

let people = 0
const somebody = () => `email_person-${++people}`

const heard = async (node: Node, userId: string, wanted: boolean[]) => {
  await eventually(() => node.toldOf(userId).length >= wanted.length, {what: `${wanted} of ${userId}`})
  expect(node.toldOf(userId)).toEqual(wanted)
}

const rowsOf = async (userId: string): Promise<number> =>
  (await pool.query('SELECT FROM state.presence WHERE user_id = $1', [userId])).rows.length

describe('openPresence', () => {
  it('tells every node who comes and who goes', async () => {
    const [here, there] = [await startNode(), await startNode()]
    const ann = somebody()
    const leave = here.arrive(ann)
    // Where the socket is, no question is open.
    expect(here.isOnline(ann)).toBe(true)
    for (const node of [here, there]) await heard(node, ann, [true])
    expect(there.isOnline(ann)).toBe(true)
    leave()
    for (const node of [here, there]) await heard(node, ann, [true, false])
    for (const node of [here, there]) expect(node.isOnline(ann)).toBe(false)
  })

  it('counts several sockets, on several nodes, as one person', async () => {
    const [here, there] = [await startNode(), await startNode()]
    const ann = somebody()
    const [first, second, third] = [here.arrive(ann), here.arrive(ann), there.arrive(ann)]
    await heard(here, ann, [true])
    first()
    // What is said twice counts once.
    first()
    third()
    await eventually(async () => (await rowsOf(ann)) === 1)
    const fourth = there.arrive(ann)
    await eventually(async () => (await rowsOf(ann)) === 2)
    second()
    await eventually(async () => (await rowsOf(ann)) === 1)
    fourth()
    for (const node of [here, there]) await heard(node, ann, [true, false])
  })

  it('knows how many sockets a person has at other nodes, and forgets those of a node that is gone', async () => {
    const [here, there] = [await startNode(), await startNode()]
    const ann = somebody()
    const [first] = [here.arrive(ann), here.arrive(ann), there.arrive(ann)]
    await eventually(() => here.elsewhere(ann) === 1 && there.elsewhere(ann) === 2)
    first()
    await eventually(() => there.elsewhere(ann) === 1)
    const later = await startNode()
    expect(later.elsewhere(ann)).toBe(2)
    await here.stop()
    await eventually(() => there.elsewhere(ann) === 0 && later.elsewhere(ann) === 1)
  })

  it('tells of one person once in so long at most, and then what is so by then', async () => {
    const [here, there] = [await startNode(), await startNode()]
    const [ann, bob] = [somebody(), somebody()]
    for (let time = 0; time < 3; time++) {
      here.arrive(ann)()
      const leave = there.arrive(bob)
      await eventually(async () => (await rowsOf(bob)) === 1)
      leave()
      await eventually(async () => (await rowsOf(bob)) === 0)
    }
    await heard(here, bob, [true, false])
    const [come, gone] = here.told.filter(({userId}) => userId === bob)
    expect(gone!.at - come!.at).toBeGreaterThanOrEqual(TELL_EVERY_MS - 1)
    // She came and went before anybody could be told.
    expect(here.isOnline(ann)).toBe(false)
  })

  it('does not take who comes back at once for having been away', async () => {
    const [here, there] = [await startNode(), await startNode({lingerMs: 1_500})]
    const [ann, bob, carol] = [somebody(), somebody(), somebody()]
    const leave = here.arrive(ann)
    await heard(there, ann, [true])
    // When it is over for him, who came later, it is over for her.
    const away = here.arrive(bob)
    await heard(here, bob, [true])
    away()
    await heard(here, bob, [true, false])
    leave()
    // Told after her leave was.
    here.arrive(carol)
    await heard(there, carol, [true])
    expect(there.isOnline(ann)).toBe(true)
    const again = here.arrive(ann)
    await eventually(async () => (await rowsOf(ann)) === 1)
    again()
    await heard(there, ann, [true, false])
  })

  it('knows from its start who is online, more people than a notification names', async () => {
    const here = await startNode()
    const crowd = Array.from({length: 1_000}, somebody)
    for (const one of crowd) here.arrive(one)
    await eventually(() => here.told.length === crowd.length)
    const later = await startNode()
    expect(crowd.every((one) => later.isOnline(one))).toBe(true)
    const more = Array.from({length: 1_000}, somebody)
    for (const one of more) here.arrive(one)
    await eventually(() => more.every((one) => later.isOnline(one)))
  })

  it('takes the people of a node that is stopped for gone', async () => {
    const [here, there] = [await startNode(), await startNode()]
    const ann = somebody()
    here.arrive(ann)
    await heard(there, ann, [true])
    await here.stop()
    await heard(there, ann, [true, false])
    expect(await rowsOf(ann)).toBe(0)
  })

  it('takes the people of a node that went silent for gone, until it is heard again', async () => {
    const there = await startNode()
    const silent = await startNode({expiresMs: 600, beatMs: 2_500})
    const ann = somebody()
    silent.arrive(ann)
    await heard(there, ann, [true, false])
    // Its next beat.
    await eventually(() => there.toldOf(ann).length === 3)
    expect(there.toldOf(ann)).toEqual([true, false, true])
  })

  it('says again who is here after its connection was lost and others had to take it for dead', async () => {
    const [here, there] = [await startNode(), await startNode()]
    const [ann, bob] = [somebody(), somebody()]
    here.arrive(ann)
    await heard(there, ann, [true])
    await pool.query(`
      WITH gone AS (
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'community presence' AND datname = current_database()
      ), dead AS (DELETE FROM state.nodes)
      SELECT count(*) FROM gone`)
    here.arrive(bob)
    await heard(there, bob, [true])
    expect([await rowsOf(ann), await rowsOf(bob)]).toEqual([1, 1])
    expect(there.isOnline(ann)).toBe(true)
  })
})
