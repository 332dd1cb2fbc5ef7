import {readdirSync} from 'node:fs'
import {writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {expect, it} from 'vitest'
import {eventually} from '../support/eventually.ts'
import {connect, signUp, visit} from '../support/server.ts'
import {check} from './checker.ts'
import {watchLeader} from './leader.ts'
import {aWhile, isLong, startLoad, times} from './load.ts'
import {newFolder, sharedEnv, startNode} from './nodes.ts'

/** libfaketime of Debian's package `faketime`. */
const FAKETIME = (() => {
  try {
    const found = readdirSync('/usr/lib', {withFileTypes: true}).find(({name}) => name.endsWith('-linux-gnu'))!
    const library = join('/usr/lib', found.name, 'faketime/libfaketime.so.1')
    readdirSync(join(library, '..'))
    return library
  } catch {
    return null
  }
})()

it.skipIf(!FAKETIME)(
  `the clock of a server that jumps forward and back harms nothing${FAKETIME ? '' : ': faketime is not installed'}`,
  {timeout: isLong ? 600_000 : 60_000},
  async (context) => {
    const rounds = times(1, 5)
    const folder = await newFolder()
    const file = join(folder, 'clock')
    await writeFile(file, '+0\n')
    const env = await sharedEnv()
    const jumping = await startNode(
      {
        ...env,
        LD_PRELOAD: FAKETIME!,
        FAKETIME_TIMESTAMP_FILE: file,
        FAKETIME_NO_CACHE: '1',
        // A clock that is set does not touch what counts from the machine's start.
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      },
      folder,
    )
    const steady = await startNode(env, folder)
    const urls = [jumping.server.url, steady.server.url]
    const load = await startLoad(jumping.server, {urls})
    const leader = await watchLeader(steady.server.databaseUrl)
    const leads = await leader.holders()
    const ann = await signUp(jumping.server)
    const socket = await connect(ann)
    const at = (index: number) => visit(urls[index]!, ann.cookies)
    for (let round = 0; round < rounds; round++) {
      for (const jump of ['+1h', '-2h', '+20d', '+0']) {
        await aWhile(50, 500)
        const nobody = visit(urls[0]!)
        const email = `jump-${round}${jump}@example.com`
        await nobody.post('/api/email/register', {email, password: 'secret one', username: 'Jumper'})
        const link = await eventually(async () => (await jumping.server.links(email)).at(-1))
        await writeFile(file, `${jump}\n`)
        await eventually(async () => {
          const date = Date.parse((await fetch(urls[0]!)).headers.get('date')!)
          return jump === '+0' ? Math.abs(date - Date.now()) < 60_000 : Math.abs(date - Date.now()) > 60_000
        })
        await load.goesOn(3)
        // Sessions and sockets of before are good on either node, and so are new ones.
        for (const index of [0, 1]) expect((await at(index).get('/api/me')).status).toBe(200)
        expect(socket.connected).toBe(true)
        if (jump !== '+20d') {
          const {pathname, search} = new URL(link)
          const verified = await nobody.get(pathname + search)
          expect(verified.headers.get('location')).toBe('/posts/?login=ok')
          for (const url of urls) expect((await visit(url, nobody.cookies).get('/api/me')).status).toBe(200)
        }
        const again = visit(urls[0]!)
        await again.post('/api/email/login', {email: ann.email, password: 'secret one'})
        for (const url of urls) expect((await visit(url, again.cookies).get('/api/me')).status).toBe(200)
        expect(await leader.holders()).toEqual(leads)
      }
    }
    await leader.close()
    const fault = {fault: "jumps of a server's clock, from 2 hours back to 20 days ahead", times: rounds * 4}
    await check(context, fault, {server: steady.server, ...(await load.stop())})
  },
)
