import {newRoomId} from '../../src/keys/ids.ts'
import {assertSame} from '../answers.ts'
import {type Bench, compareWork, type Figure, inTurn, judge} from '../harness.ts'
import {load} from '../load.ts'
import {type Running, SECRETS} from '../place.ts'
import {fillWorld, people, postsBy, register, roomOf, said} from '../world.ts'

const LEAVES_OUT =
  "TLS and a network; pages that somebody asks for twice; a database whose tables are larger than the machine's memory."

/** So many posts of so many characters, and after them a room with a tenth as many messages. Short ones are made faster. */
export const postsDatabase = ({place, say}: Bench, count: number, characters = 40): Promise<string> =>
  place.database(`posts_${count}`, async (url) => {
    say(`making ${count.toLocaleString('en')} posts`)
    await fillWorld(url, async (world) => {
      const {append} = world
      const by = people(20)
      await register(world, by)
      await append(postsBy(by, count, characters))
      const roomId = newRoomId()
      await append([roomOf(roomId, by)])
      // One append after the other, as each stands on the one before.
      for (const one of said(roomId, by, count / 10)) await append([one])
    })
  })

/** Pages at random cursors. */
const anywhere = (count: number) => [
  {
    setupRequest: (request: object) => ({
      ...request,
      path: `/api/posts?limit=20&cursor=${100 + Math.floor(Math.random() * (count - 100))}`,
    }),
  },
]

export const postPages: Figure = {
  name: 'post-pages',
  measure: async (bench) => {
    const {place, quick} = bench
    const [few, many] = quick ? [200, 1_000] : [10_000, 1_000_000]
    const [small, large] = [await postsDatabase(bench, few), await postsDatabase(bench, many)]
    const ours = await place.server({databaseUrl: large})
    const ofFew = await place.server({databaseUrl: small})
    const same = await place.baseline('bareQuery.ts', {databaseUrl: large, secret: SECRETS.SESSION_SECRET})
    await assertSame(ours.url, same.url, `/api/posts?limit=20&cursor=${many - 10}`)
    const seconds = quick ? 1 : 3
    const figure = `GET /api/posts?limit=20 at a random cursor among ${many.toLocaleString('en')} posts`
    const side = (running: Running) => (rate?: number) => load(running, {seconds, rate, requests: anywhere(many)})
    const rows = await compareWork(bench, {figure, of: 'requests', leavesOut: LEAVES_OUT}, side(ours), [
      {
        against: 'Express with the same middleware and headers + pg, the one bare query',
        side: side(same),
        atLeast: 0.9,
      },
    ])
    // At a load that is none, so that it is the table that is measured and no queue.
    const paced = {seconds, connections: 50, rate: quick ? 100 : 300}
    const times = await inTurn(bench, {
      many: () => load(ours, {...paced, requests: anywhere(many)}),
      few: () => load(ofFew, {...paced, requests: anywhere(few)}),
    })
    return [
      ...rows,
      judge({
        figure: `${figure}, p99 at ${paced.rate} requests/s`,
        against: `the same among ${few.toLocaleString('en')} posts`,
        unit: 'ms',
        ours: times.many.map(({p99}) => p99),
        baseline: times.few.map(({p99}) => p99),
        atMost: 1.3,
        leavesOut: LEAVES_OUT,
      }),
    ]
  },
}
