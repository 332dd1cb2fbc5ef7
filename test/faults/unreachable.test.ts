import {randomBytes} from 'node:crypto'
import {afterAll, beforeAll, describe, it} from 'vitest'
import {createDatabase} from '../support/database.ts'
import {type TcpProxy, throughProxy} from '../support/tcpProxy.ts'
import {check} from './checker.ts'
import {aWhile, isLong, startLoad, times} from './load.ts'
import {type Node, sharedEnv, startNode} from './nodes.ts'

const timeout = isLong ? 600_000 : 60_000
const {EVENTSTORE_URL} = process.env
const adapters = EVENTSTORE_URL ? (['PostgreSQL', 'EventStoreDB'] as const) : (['PostgreSQL'] as const)

const FAULTS: {[name: string]: (proxy: TcpProxy) => Promise<void>} = {
  cut: async (proxy) => {
    proxy.cut()
  },
  shut: async (proxy) => {
    proxy.shut()
    await aWhile(200, isLong ? 8_000 : 1_000)
  },
  stalled: async (proxy) => {
    proxy.stall()
    await aWhile(200, isLong ? 8_000 : 1_000)
  },
  delayed: async (proxy) => {
    proxy.delay(50 + Math.random() * 250)
    await aWhile(500, isLong ? 8_000 : 1_000)
  },
  'half-closed towards us': async (proxy) => {
    proxy.halfClose('client')
  },
  'half-closed towards it': async (proxy) => {
    proxy.halfClose('server')
  },
}

/** All of them under one load; what nobody is told of takes longest to be noticed. */
const QUICK = Object.keys(FAULTS).filter((name) => name !== 'half-closed towards it')

describe.each(adapters)('the way to the log in %s', (adapter) => {
  let proxy: TcpProxy
  let node: Node
  beforeAll(async () => {
    const database = await createDatabase()
    const way = await throughProxy(adapter === 'PostgreSQL' ? database : EVENTSTORE_URL!)
    proxy = way.proxy
    node = await startNode({
      ...(await sharedEnv()),
      ...(adapter === 'PostgreSQL'
        ? {DATABASE_URL: way.url, EVENTSTORE_URL: undefined, EVENTSTORE_PREFIX: undefined}
        : {DATABASE_URL: database, EVENTSTORE_URL: way.url, EVENTSTORE_PREFIX: `t${randomBytes(6).toString('hex')}.`}),
    })
  })
  afterAll(async () => {
    await node.server.end('SIGTERM')
    await proxy.close()
  })

  const one = (name: string): [string, string[]] => [name, [name]]
  it.for(isLong ? Object.keys(FAULTS).map(one) : [[QUICK.join(', '), QUICK] as [string, string[]]])(
    '%s under load',
    {timeout},
    async ([name, kinds], context) => {
      const {server} = node
      const count = times(1, 10)
      const load = await startLoad(server)
      for (let time = 0; time < count; time++) {
        for (const kind of kinds) {
          await aWhile(50, 500)
          await FAULTS[kind]!(proxy)
          proxy.resume()
          await load.goesOn(1)
        }
      }
      const fault = {fault: `the way to the log in ${adapter} ${name}`, times: count}
      await check(context, fault, {server, ...(await load.stop())})
    },
  )
})
