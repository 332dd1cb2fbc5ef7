import {setTimeout as pause} from 'node:timers/promises'
import {type Figure, inTurn, judge} from '../harness.ts'
import {type Running, START_FLAGS} from '../place.ts'
import {openWire, type Wire} from '../wire.ts'
import {fillWorld, people, register, signIn} from '../world.ts'

const MIB = 1024 * 1024
/** As many as one person may have. */
const SOCKETS_A_PERSON = 50

export const memory: Figure = {
  name: 'memory',
  measure: async (bench) => {
    const {place, quick} = bench
    const counts = quick ? [50, 100] : [1_000, 5_000]
    const most = counts.at(-1)!
    const all = people(Math.ceil(most / SOCKETS_A_PERSON))
    const databaseUrl = await place.freshDatabase((url) => fillWorld(url, async (world) => register(world, all)))
    const cookies = await signIn(databaseUrl, all)
    const settle = async (running: Running) => {
      await pause(quick ? 100 : 2_000)
      return (await running.residentBytes()) / MIB
    }
    const measure = (start: () => Promise<Running>) => async () => {
      const running = await start()
      const idle = await settle(running)
      const wires: Wire[] = []
      const grown: number[] = []
      for (const count of counts) {
        while (wires.length < count) {
          const next = Array.from({length: Math.min(25, count - wires.length)}, (_, n) =>
            openWire(running.url, cookies[Math.floor((wires.length + n) / SOCKETS_A_PERSON)]!),
          )
          wires.push(...(await Promise.all(next)))
        }
        grown.push((await settle(running)) - idle)
      }
      for (const wire of wires) wire.close()
      await running.stop()
      return {idle, grown}
    }
    const {ours, same} = await inTurn(
      bench,
      {
        ours: measure(() => place.server({databaseUrl})),
        // With the same bound for what is short-lived: else what is measured is what connecting left behind.
        same: measure(() => place.baseline('bareSockets.ts', {durable: false}, {nodeFlags: START_FLAGS})),
      },
      {afresh: true},
    )
    const leavesOut =
      'The database’s memory, and what requests and messages leave behind: these servers did nothing yet. Both sides run with the bound for short-lived objects of `npm start`.'
    return [
      judge({
        figure: 'resident memory, idle',
        against: '160 MB',
        unit: 'MB',
        ours: ours.map(({idle}) => (idle * MIB) / 1e6),
        baseline: [160],
        atMost: 1,
        leavesOut,
      }),
      ...counts.map((count, index) =>
        judge({
          figure: `growth over idle with ${count.toLocaleString('en')} idle sockets`,
          against: 'bare Express + Socket.IO',
          unit: 'MiB',
          ours: ours.map(({grown}) => grown[index]!),
          baseline: same.map(({grown}) => grown[index]!),
          atMost: 1.3,
          leavesOut,
        }),
      ),
    ]
  },
}
