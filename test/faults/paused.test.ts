import {setTimeout as pause} from 'node:timers/promises'
import {expect, it} from 'vitest'
import {check} from './checker.ts'
import {watchLeader} from './leader.ts'
import {aWhile, isLong, startLoad, times} from './load.ts'
import {type Node, startNodes} from './nodes.ts'

const PAUSE_MS = isLong ? 30_000 : 3_000
const BACK_MS = 5_000

it(`SIGSTOP of the projection leader for ${PAUSE_MS / 1_000} s: another one leads, and the one that wakes writes nothing over it`, {
  timeout: isLong ? 600_000 : 60_000,
}, async (context) => {
  const pauses = times(1, 4)
  const [first, second] = (await startNodes(2)) as [Node, Node]
  const leader = await watchLeader(first.server.databaseUrl)
  const load = await startLoad(first.server, {urls: [first.server.url, second.server.url]})
  for (let time = 0; time < pauses; time++) {
    const {pid} = (time % 2 === 0 ? first : second).server
    await aWhile(50, 1_000)
    const before = await leader.holders()
    process.kill(pid, 'SIGSTOP')
    const [takenMs] = await Promise.all([leader.taken(before), pause(PAUSE_MS)])
    expect(takenMs).toBeLessThan(BACK_MS)
    const after = await leader.holders()
    process.kill(pid, 'SIGCONT')
    await load.goesOn(3)
    expect(await leader.holders()).toEqual(after)
  }
  await leader.close()
  const fault = {fault: `SIGSTOP of the projection leader, ${PAUSE_MS / 1_000} s`, times: pauses}
  await check(context, fault, {server: first.server, ...(await load.stop())})
})
