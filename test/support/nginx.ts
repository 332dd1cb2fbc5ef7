import {execFileSync, spawn} from 'node:child_process'
import {once} from 'node:events'
import {chmod, mkdtemp, readFile, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {eventually} from './eventually.ts'
import {freePort} from './freePort.ts'

export const hasNginx = (() => {
  try {
    execFileSync('nginx', ['-v'], {stdio: 'ignore'})
    return true
  } catch {
    return false
  }
})()

const CONF = new URL('../../deploy/nginx.conf', import.meta.url)

/** A real nginx with deploy/nginx.conf, before these nodes instead of its own. */
export const startNginx = async (nodes: readonly {url: string}[]): Promise<{url: string; stop(): Promise<void>}> => {
  const folder = await mkdtemp(join(tmpdir(), 'community-nginx-'))
  // Started by root, its workers are somebody else, who must reach their own folders in here.
  await chmod(folder, 0o711)
  const port = await freePort()
  const servers = nodes.map(({url}) => `    server ${new URL(url).host};\n`).join('')
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `  ${kind}_temp_path ${folder}/${kind};\n`,
  )
  const conf = (await readFile(CONF, 'utf8'))
    .replace('pid /tmp/nginx.pid;', `pid ${folder}/pid;\ndaemon off;`)
    .replace('http {\n', `http {\n${temporary.join('')}`)
    .replace('access_log /dev/stdout community;', 'access_log off;')
    .replace('listen 80;', `listen 127.0.0.1:${port};`)
    .replace(/(?: {4}server app-\d+:3000;\n)+/g, servers)
  const file = join(folder, 'nginx.conf')
  await writeFile(file, conf)
  const nginx = spawn('nginx', ['-e', 'stderr', '-p', folder, '-c', file], {stdio: 'ignore'})
  const url = `http://127.0.0.1:${port}`
  await eventually(
    () =>
      fetch(`${url}/healthz`).then(
        ({ok}) => ok,
        () => false,
      ),
    {what: 'nginx to answer'},
  )
  return {
    url,
    stop: async () => {
      if (nginx.exitCode === null && nginx.signalCode === null) {
        nginx.kill('SIGTERM')
        await once(nginx, 'exit')
      }
      await rm(folder, {recursive: true, force: true})
    },
  }
}
