import {spawn} from 'node:child_process'
import {once} from 'node:events'
import {mkdtemp, readdir, readFile, rm, stat, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {text} from 'node:stream/consumers'
import {afterEach, beforeEach, describe, expect, it} from 'vitest'
import {ConfigError} from '../../src/config.ts'
import {loadSecrets} from '../../src/keys/secrets.ts'

describe('loadSecrets', () => {
  let folder: string
  let dataDir: string
  const load = (given: {sessionSecret?: string; masterKey?: string} = {}) =>
    loadSecrets({dataDir, sessionSecret: null, masterKey: null, ...given})

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'secrets-'))
    dataDir = join(folder, 'some', 'data')
  })
  afterEach(() => rm(folder, {recursive: true}))

  it('makes them once and keeps them', async () => {
    const first = await load()
    expect(first.sessionSecret.length).toBeGreaterThanOrEqual(32)
    expect(first.masterKey).toHaveLength(32)
    expect(await load()).toEqual(first)
  })

  it('makes others in another folder', async () => {
    const first = await load()
    dataDir = join(folder, 'other')
    const second = await load()
    expect(second.sessionSecret).not.toBe(first.sessionSecret)
    expect(second.masterKey).not.toEqual(first.masterKey)
  })

  it.each([0o000, 0o077])(
    'lets nobody else read them, and others only pass through the folder (umask %o)',
    async (mask) => {
      const umask = process.umask(mask)
      try {
        await load()
      } finally {
        process.umask(umask)
      }
      expect((await stat(join(dataDir, 'secrets.json'))).mode & 0o777).toBe(0o600)
      expect((await stat(dataDir)).mode & 0o777).toBe(0o711)
      expect(await readdir(dataDir)).toEqual(['secrets.json'])
    },
  )

  it('takes what the environment gives, and then writes nothing', async () => {
    const masterKey = Buffer.alloc(32, 5)
    const given = {sessionSecret: 's'.repeat(40), masterKey: masterKey.toString('base64')}
    expect(await load(given)).toEqual({sessionSecret: given.sessionSecret, masterKey, nextMasterKey: null})
    await expect(stat(dataDir)).rejects.toThrow('ENOENT')
  })

  it('makes only what the environment does not give', async () => {
    const {masterKey} = await load()
    expect(await load({sessionSecret: 's'.repeat(40)})).toEqual({
      sessionSecret: 's'.repeat(40),
      masterKey,
      nextMasterKey: null,
    })
  })

  it('agrees with other processes that start at the same moment', async () => {
    const folders = Array.from({length: 20}, (_, n) => join(folder, String(n)))
    const script = `
      import {loadSecrets} from ${JSON.stringify(new URL('../../src/keys/secrets.ts', import.meta.url).href)}
      process.stdout.write('ready ')
      process.stdin.once('data', async () => {
        for (const dataDir of process.argv.slice(1)) {
          const {sessionSecret, masterKey} = await loadSecrets({dataDir, sessionSecret: null, masterKey: null})
          process.stdout.write(sessionSecret + masterKey.toString('base64') + ' ')
        }
        process.exit()
      })`
    const children = Array.from({length: 3}, () =>
      spawn(process.execPath, ['--input-type=module', '-e', script, ...folders], {stdio: ['pipe', 'pipe', 'inherit']}),
    )
    await Promise.all(children.map(({stdout}) => once(stdout, 'readable')))
    for (const {stdin} of children) stdin.end('go')
    const answers = await Promise.all(children.map(({stdout}) => text(stdout)))
    const kept: string[] = []
    for (dataDir of folders) {
      const {sessionSecret, masterKey} = await load()
      kept.push(sessionSecret + masterKey.toString('base64'))
    }
    expect(answers).toEqual(children.map(() => `ready ${kept.join(' ')} `))
  })

  it.each([
    '',
    '{"sessionSecret":"',
    'null',
    '{"sessionSecret":"short","masterKey":"AAAA"}',
    `{"sessionSecret":"${'s'.repeat(40)}","masterKey":"${'A'.repeat(40)}"}`,
  ])('refuses a damaged file (%j) with one line, and leaves it as it is', async (content) => {
    await load()
    const file = join(dataDir, 'secrets.json')
    await writeFile(file, content)
    const error = await load().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ConfigError)
    expect((error as Error).message).toMatch(/^DATA_DIR holds a damaged .*secrets\.json: [^\n]+$/)
    expect(await readFile(file, 'utf8')).toBe(content)
  })

  it('says so where DATA_DIR is no folder', async () => {
    dataDir = join(folder, 'file')
    await writeFile(dataDir, '')
    const error = await load().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ConfigError)
    expect((error as Error).message).toMatch(/^DATA_DIR must be a folder/)
  })
})
