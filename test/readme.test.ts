import {execFileSync, spawnSync} from 'node:child_process'
import {chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {dirname, join, relative} from 'node:path'
import {fileURLToPath} from 'node:url'
import {afterAll, beforeAll, describe, expect, it} from 'vitest'
import {endAll} from './support/serverProcess.ts'
import {closeShells, freePort, openShell} from './support/shell.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const readme = await readFile(join(ROOT, 'README.md'), 'utf8')

/** The shell commands of a section, block by block, word for word. */
const blocksOf = (title: string): string[] => {
  const section = readme.split(/^## /m).find((one) => one.startsWith(title))!
  return [...section.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!)
}

let home: string
let checkout: string
let env: NodeJS.ProcessEnv
const hasCurl = spawnSync('curl', ['--version']).status === 0

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'community-readme-'))
  checkout = join(home, 'checkout')
  const ours = (path: string) => !/^(node_modules|coverage|\.git|\.data)$/.test(relative(ROOT, path))
  await cp(ROOT, checkout, {recursive: true, filter: ours})
  await symlink(join(ROOT, 'node_modules'), join(checkout, 'node_modules'))
  // The database runs as another user where we are root.
  await chmod(home, 0o711)

  // Port 3000 may be taken, and the packages are there: nothing else differs from what a reader has.
  const port = await freePort()
  await writeFile(join(home, '.curlrc'), `connect-to = "localhost:3000:127.0.0.1:${port}"\n`)
  const npm = execFileSync('sh', ['-c', 'command -v npm']).toString().trim()
  await mkdir(join(home, 'bin'))
  await writeFile(join(home, 'bin/npm'), `#!/bin/sh\n[ "$*" = ci ] && exit 0\nexec "${npm}" "$@"\n`, {mode: 0o755})
  env = {
    PATH: `${join(home, 'bin')}:${process.env.PATH}`,
    HOME: home,
    CURL_HOME: home,
    PORT: `${port}`,
    COMMUNITY_URL: `http://localhost:${port}`,
  }
})

afterAll(async () => {
  await closeShells()
  await endAll([join(checkout, '.data')])
  await rm(home, {recursive: true, force: true})
})

const openTerminal = (args: string[] = []) => openShell({cwd: checkout, env}, args)

describe('README', () => {
  it.skipIf(!hasCurl)(
    'leads a reader from installing to a chat with a bot',
    async () => {
      const blocks = blocksOf('Try it')
      const next = () => blocks.shift()!
      expect(blocks[0]).toBe('npm ci && npm start\n')

      let server = openTerminal(['-c', next()])
      await server.waitFor('the server is ready')
      const reader = openTerminal()
      expect(await reader.run(next())).toContain('Please check your email')
      const signedIn = await reader.run(next())
      expect(signedIn).toMatch(/"user":\{"id":"email_[a-z2-7]{26}","username":"Ann"/)
      expect(signedIn).toMatch(/\n\[\{"id":"u-.*"author_name":"Ann","title":"Hello","body":"My first post".*\}\]\n$/)
      expect(await reader.run(next())).toMatch(/^\{"ok":true\}\n.*Please check your email/)
      const joined = await reader.run(next())
      expect(joined).toMatch(/"invitations":\[\{.*"roomName":"Kitchen","invitedBy":.*"username":"Ann"/)
      expect(joined).toMatch(/"members":\[.*"username":"Ann".*"username":"Bob"/)
      expect(await reader.run(next())).toBe('Ann: Hello Bob\nAnn: Hello Bob\nBob: Hello Ann, is there coffee?\n')

      await server.pressCtrlC()
      server = openTerminal(['-c', next()])
      await server.waitFor('the server is ready')
      const bot = openTerminal(['-c', next()])
      await bot.waitFor('listening')
      expect(await reader.run(next())).toMatch(
        /^Ann: Hello Bob\nBob: .*\nAnn: @echo is anybody there\?\nEcho: Ann: is anybody there\?\n$/,
      )
      expect(blocks).toEqual([])
      await bot.pressCtrlC()
      await server.pressCtrlC()
      await reader.close()
    },
    120_000,
  )

  it('tests with the command that .ci/run runs', async () => {
    expect(blocksOf('Test it')).toEqual(['npm ci && npm test\n'])
    expect(await readFile(join(ROOT, '.ci/run'), 'utf8')).toMatch(/^npm ci && npm test\b/m)
  })

  it('names every folder of src, and files that are there', async () => {
    const entries = await readdir(join(ROOT, 'src'), {withFileTypes: true})
    const inSource = entries
      .filter((one) => one.isDirectory() || one.name.endsWith('.ts'))
      .map(({name}) => `src/${name}`)
    const named = new Set([...readme.matchAll(/`(src\/[\w.]+)`/g)].map(([, path]) => path))
    expect(inSource.filter((path) => !named.has(path))).toEqual([])
    for (const [, path] of readme.matchAll(/\]\(([^)]+)\)/g)) await readFile(join(ROOT, path!))
    for (const [, path] of readme.matchAll(/`((?:src|deploy|examples|web|bench)[\w/.]*)`/g)) {
      await expect(readdir(join(ROOT, dirname(path!)))).resolves.toContain(path!.split('/').at(-1))
    }
  })
})
