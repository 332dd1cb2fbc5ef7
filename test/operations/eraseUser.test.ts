import {execFile} from 'node:child_process'
import {mkdtemp, readdir, readFile, stat} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {promisify} from 'node:util'
import {Client} from 'pg'
import {describe, expect, it} from 'vitest'
import {connect, signUp, startServer, visit} from '../support/server.ts'

const run = promisify(execFile)
const community = async (env: NodeJS.ProcessEnv, ...args: string[]) => {
  const {stdout} = await run(process.execPath, ['bin/community.js', ...args], {env: {PATH: process.env.PATH, ...env}})
  return stdout
}

/** Files under the folder whose bytes hold one of the words. */
const filesWith = async (folder: string, words: string[]): Promise<string[]> => {
  const found: string[] = []
  for (const name of await readdir(folder)) {
    const path = join(folder, name)
    const info = await stat(path).catch(() => null)
    if (info?.isDirectory()) found.push(...(await filesWith(path, words)))
    else if (info?.isFile()) {
      const bytes = await readFile(path).catch(() => Buffer.alloc(0))
      for (const word of words) if (bytes.includes(word)) found.push(`${path}: ${word}`)
    }
  }
  return found
}

describe('eraseUser', () => {
  it('leaves nothing in clear of what a person wrote, in no file of the data directory', {
    timeout: 120_000,
  }, async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'community-erase-'))
    const env = {DATA_DIR: dataDir, DATABASE_URL: '', SESSION_SECRET: '', MASTER_KEY: ''}
    const server = await startServer(env)
    const ann = await signUp(server, {username: 'Annabella Xyzzy', email: 'annabella.xyzzy@example.com'})
    const bob = await signUp(server)
    const {room} = (await ann.post('/api/rooms', {name: 'Lobby', visibility: 'open'})).body
    await bob.post(`/api/rooms/${room.id}/join`)
    for (let n = 0; n < 30; n++) {
      await ann.post('/api/posts', {
        title: `plughtitle ${n}`,
        body: `plughbody ${n} `.repeat(50),
        attachments: ['https://plugh.example/a'],
      })
      await ann.post(`/api/rooms/${room.id}/messages`, {content: `plughmessage ${n}`})
    }
    const socket = await connect(ann)
    const closed = new Promise((resolve) => socket.on('disconnect', resolve))
    const words = ['Annabella', 'annabella', 'plugh']
    expect(await filesWith(dataDir, words)).not.toEqual([])

    await community(env, 'users', 'erase', ann.id)
    await closed
    expect((await ann.get('/api/me')).status).toBe(401)
    const [post] = (await bob.get('/api/posts')).body
    expect(post).toMatchObject({title: '[erased]', body: '[erased]', author_name: '[erased]', attachments: []})
    const read = (await bob.get(`/api/rooms/${room.id}`)).body
    expect(read.members).toHaveLength(1)
    expect(read.messages[0]).toMatchObject({content: '[erased]', username: '[erased]'})
    expect(JSON.parse(await community(env, 'projections', 'verify', '--json'))).toSatisfy(
      (results: {differing: number}[]) => results.every(({differing}) => differing === 0),
    )
    await community(env, 'users', 'erase', ann.id)
    expect(await filesWith(dataDir, words)).toEqual([])

    const again = await signUp(server, {email: 'annabella.xyzzy@example.com'})
    expect(again.id).not.toBe(ann.id)
    expect((await again.get('/api/rooms')).body).toMatchObject({rooms: [], invitations: []})
  })

  it('erases oneself by password or right after signing in, and nobody else', async () => {
    const server = await startServer()
    const ann = await signUp(server, {password: 'the right one'})
    expect((await visit(server.url).request('DELETE', '/api/me', {})).status).toBe(401)
    expect((await ann.request('DELETE', '/api/me', {password: 'a wrong one'})).body.code).toBe('WRONG_CREDENTIALS')
    const exported = (await ann.get('/api/me/export')).body
    expect(exported.user).toMatchObject({id: ann.id, email: ann.email})
    expect(exported.events.map(({type}: {type: string}) => type)).toContain('UserRegistered')
    expect(JSON.stringify(exported)).not.toContain('$2b$')
    expect((await ann.request('DELETE', '/api/me', {password: 'the right one'})).body).toEqual({ok: true})
    expect((await ann.get('/api/me')).status).toBe(401)
    const client = new Client({connectionString: server.databaseUrl})
    await client.connect()
    const {rows} = await client.query('SELECT wrapped FROM keys.people WHERE person = $1', [ann.id])
    expect(rows).toEqual([{wrapped: null}])
    await client.end()
  })
})
