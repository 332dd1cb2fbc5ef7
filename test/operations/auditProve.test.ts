import {writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {describe, expect, it} from 'vitest'
import {recordIn} from '../../src/proof/cloudEvent.ts'
import {leafOf} from '../../src/proof/leaf.ts'
import {rootByInclusion} from '../../src/proof/merkleTree.ts'
import {community} from '../support/commandLine.ts'
import {signUp} from '../support/server.ts'
import {sharedServer} from '../support/sharedServer.ts'

const server = sharedServer()

describe('audit prove', () => {
  it('proves an event by its id or position, against the last seal or a given one', {timeout: 60_000}, async () => {
    const run = (...args: string[]) => community(server().env, 'audit', ...args)
    const ann = await signUp(server())
    await ann.post('/api/posts', {title: 'one'})
    const sealed = await run('seal')
    const file = join(server().dataDir, 'seal.json')
    await writeFile(file, sealed.stdout)
    const seal = JSON.parse(sealed.stdout)
    await ann.post('/api/posts', {title: 'two'})
    const later = JSON.parse((await run('seal', '--extends', file)).stdout)
    const lines = (await run('export')).stdout.trimEnd().split('\n')

    const prove = async (...args: string[]) => {
      const {status, stdout, stderr} = await run('prove', ...args)
      expect([status, stderr]).toEqual([0, ''])
      return JSON.parse(stdout)
    }
    const index = 2
    const {id} = JSON.parse(lines[index]!)
    for (const [of, proof] of [
      [seal, await prove(id, '--seal', file)],
      [later, await prove(id.toUpperCase())],
      [later, await prove(id, '--json')],
    ] as const) {
      expect(proof).toMatchObject({index, seal: of, event: JSON.parse(lines[index]!)})
      const read = recordIn(JSON.stringify(proof.event))
      const leaf = 'record' in read ? leafOf(read.record) : Buffer.alloc(0)
      const path = proof.path.map((hash: string) => Buffer.from(hash, 'hex'))
      expect(rootByInclusion(leaf, index, of.size, path)?.toString('hex')).toBe(of.root)
    }
    if (server().env.EVENTSTORE_URL === undefined) expect(await prove('3')).toMatchObject({index: 2, event: {id}})

    const last = JSON.parse(lines.at(-1)!)
    expect(await run('prove', last.id, '--seal', file)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('came after the seal'),
    })
    const nobody = await run('prove', '00000000-0000-4000-8000-000000000000', '--json')
    expect([nobody.status, JSON.parse(nobody.stdout)]).toEqual([
      1,
      {ok: false, event: '00000000-0000-4000-8000-000000000000'},
    ])
    expect((await run('prove', '999999999')).status).toBe(1)
    expect((await run('prove', 'nonsense')).status).toBe(2)
    expect((await run('prove')).status).toBe(2)
    expect((await run('prove', '--help')).stdout).toContain('audit prove 42')
  })
})
