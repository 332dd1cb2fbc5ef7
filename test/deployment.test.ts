import {execFile, execFileSync, spawn} from 'node:child_process'
import {once} from 'node:events'
import {chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs'
import {type ClientRequestArgs, createServer, type IncomingMessage, request, type Server} from 'node:http'
import {type AddressInfo, createServer as createTcpServer} from 'node:net'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {text} from 'node:stream/consumers'
import {promisify} from 'node:util'
import {afterAll, beforeAll, describe, expect, it, vi} from 'vitest'
import {parse} from 'yaml'
import {z} from 'zod'
import {CONFIG_NAMES, readConfig} from '../src/config.ts'

const read = (file: string) => readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')

// The part of the Compose Specification that the file uses; a key that is not in it is a mistake.
const duration = z.string().regex(/^\d+(ms|s|m|h)$/)
const composeFile = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9_-]*$/),
  services: z.record(
    z.string().regex(/^[a-zA-Z0-9._-]+$/),
    z.strictObject({
      image: z.string().optional(),
      build: z.string().optional(),
      init: z.boolean().optional(),
      restart: z.enum(['no', 'always', 'on-failure', 'unless-stopped']),
      stop_grace_period: duration.optional(),
      hostname: z.string().optional(),
      network_mode: z.literal('none').optional(),
      user: z
        .string()
        .regex(/^\d+:\d+$/)
        .optional(),
      shm_size: z
        .string()
        .regex(/^\d+[bkmg]$/)
        .optional(),
      entrypoint: z.array(z.string()).optional(),
      command: z.array(z.string()).optional(),
      ports: z.array(z.string().regex(/^\S+:\d+$/)).optional(),
      volumes: z.array(z.string().regex(/^[^:]+:\/[^:]*(:ro)?$/)).optional(),
      environment: z.record(z.string(), z.union([z.string(), z.number()])).optional(),
      depends_on: z
        .record(
          z.string(),
          z.strictObject({
            condition: z.enum(['service_started', 'service_healthy', 'service_completed_successfully']),
            restart: z.boolean().optional(),
          }),
        )
        .optional(),
      healthcheck: z
        .strictObject({
          test: z.array(z.string()).min(2).optional(),
          interval: duration,
          timeout: duration,
          start_period: duration,
          retries: z.int().positive(),
        })
        .optional(),
    }),
  ),
  volumes: z.record(z.string(), z.null()),
})

const whole = parse(read('docker-compose.yml'), {merge: true})
const compose = composeFile.parse(Object.fromEntries(Object.entries(whole).filter(([key]) => !key.startsWith('x-'))))
const services = Object.entries(compose.services)
const eventStores = ['eventstore-1', 'eventstore-2', 'eventstore-3']
const apps = ['app-1', 'app-2']

const VARIABLE = /\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}/g

/** As compose puts variables into a value: `${A}`, `${A:-default}`, `${A:?sentence}`, `$$`. */
const interpolate = (value: string | number, variables: Record<string, string>): string =>
  String(value).replace(VARIABLE, (all, name, kind, rest) => {
    if (all === '$$') return '$'
    if (kind === '?' && !variables[name]) throw new Error(rest)
    return variables[name] || (kind === '-' ? rest : '')
  })

const example = Object.fromEntries(
  read('.env.example')
    .split('\n')
    .filter((line) => line && !line.startsWith('#'))
    .map((line) => /^([A-Z_]+)=(.*)$/.exec(line)!.slice(1) as [string, string]),
)
const filledIn: Record<string, string> = {
  ...example,
  SESSION_SECRET: 's'.repeat(64),
  MASTER_KEY: Buffer.alloc(32, 1).toString('base64'),
  POSTGRES_PASSWORD: 'a1b2c3',
  EVENTSTORE_ADMIN_PASSWORD: 'd4e5f6',
}
const environmentOf = (service: string, variables: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(compose.services[service]!.environment ?? {}).map(([name, value]) => [
      name,
      interpolate(value, variables),
    ]),
  )

describe('docker-compose.yml', () => {
  it('has three EventStoreDB 23.10 nodes, PostgreSQL 18, two nodes of the server, nginx, and what makes certificates', () => {
    expect(Object.keys(compose.services).sort()).toEqual(
      [...apps, ...eventStores, 'certificates', 'nginx', 'postgres'].sort(),
    )
    for (const name of eventStores) expect(compose.services[name]!.image).toMatch(/^eventstore\/eventstore:23\.10\./)
    expect(compose.services.postgres!.image).toMatch(/^postgres:18/)
    for (const name of apps) expect(compose.services[name]!.build).toBe('.')
  })

  it.each(services)('says of %s what to run and how to see that it is well', (_name, service) => {
    expect(service.image ?? service.build).toBeTruthy()
    // What runs once and ends is well when it ended well.
    if (service.restart === 'no') return
    expect(service.healthcheck).toBeDefined()
    if (!service.healthcheck!.test) expect(service.build).toBe('.')
    else expect(['CMD', 'CMD-SHELL']).toContain(service.healthcheck!.test[0])
  })

  it.each(services)('lets %s wait only for what there is, and for its health', (_name, {depends_on = {}}) => {
    for (const [other, {condition}] of Object.entries(depends_on)) {
      const once = compose.services[other]!.restart === 'no'
      expect(condition).toBe(once ? 'service_completed_successfully' : 'service_healthy')
    }
  })

  it('declares every volume and mounts each one; nothing else but nginx.conf', () => {
    const mounted = services.flatMap(([, {volumes = []}]) => volumes.map((volume) => volume.split(':')[0]!))
    const files = mounted.filter((source) => source.startsWith('.'))
    expect(files).toEqual(['./deploy/nginx.conf'])
    expect(new Set(mounted.filter((source) => !source.startsWith('.')))).toEqual(new Set(Object.keys(compose.volumes)))
  })

  it('keeps the databases where their images write', () => {
    expect(compose.services.postgres!.volumes).toEqual(['postgres:/var/lib/postgresql'])
    for (const name of eventStores) expect(compose.services[name]!.volumes).toContain(`${name}:/var/lib/eventstore`)
  })

  it('shows each private key to its own node only', () => {
    const whoMounts = (volume: string) =>
      services.filter(([, {volumes = []}]) => volumes.some((one) => one.startsWith(`${volume}:`))).map(([name]) => name)
    expect(whoMounts('ca')).toEqual(['certificates'])
    for (const name of eventStores) expect(whoMounts(`${name}-certificate`)).toEqual([name, 'certificates'])
  })

  it('publishes nothing but nginx', () => {
    expect(services.filter(([, {ports}]) => ports).map(([name]) => name)).toEqual(['nginx'])
    expect(interpolate(compose.services.nginx!.ports![0]!, filledIn)).toBe('8080:80')
  })

  it.each(apps)('gives %s only variables that the server knows, and values that it takes', (name) => {
    const environment = environmentOf(name, filledIn)
    for (const variable of Object.keys(environment)) expect(CONFIG_NAMES).toContain(variable)
    const config = readConfig(environment)
    expect(config.host).toBe('0.0.0.0')
    expect(config.port).toBe(3000)
    expect(config.baseUrl).toBe('http://localhost:8080')
    expect(config.trustProxy).toBe(1)
    expect(new URL(config.databaseUrl!).hostname).toBe('postgres')
    const [, hosts, options] = /@([^?]+)\?(.*)$/.exec(config.eventStore!.url)!
    expect(hosts!.split(',')).toEqual(eventStores.map((host) => `${host}:2113`))
    expect(new URLSearchParams(options)).toEqual(
      new URLSearchParams({tls: 'true', tlsCAFile: '/trusted/ca.crt', nodePreference: 'leader'}),
    )
    const volumes = compose.services[name]!.volumes
    expect(volumes).toContain(`uploads:${config.uploads.dir}`)
    expect(volumes).toContain('ca-certificate:/trusted:ro')
  })

  it('gives both nodes the same', () => {
    expect(compose.services['app-1']).toEqual(compose.services['app-2'])
  })

  it('gives PostgreSQL and EventStoreDB the names and passwords that the server uses', () => {
    const {databaseUrl, eventStore} = readConfig(environmentOf('app-1', filledIn))
    const postgres = environmentOf('postgres', filledIn)
    expect(databaseUrl).toBe(
      `postgres://${postgres.POSTGRES_USER}:${postgres.POSTGRES_PASSWORD}@postgres:5432/${postgres.POSTGRES_DB}`,
    )
    for (const name of eventStores) {
      const environment = environmentOf(name, filledIn)
      expect(eventStore!.url).toContain(`//admin:${environment.EVENTSTORE_DEFAULT_ADMIN_PASSWORD}@`)
      expect(environment.EVENTSTORE_NODE_HOST_ADVERTISE_AS).toBe(name)
      expect(environment.EVENTSTORE_GOSSIP_SEED).toBe(
        eventStores.flatMap((other) => (other === name ? [] : `${other}:2113`)).join(),
      )
    }
  })

  it('refuses to start without a secret, with a sentence that names it', () => {
    for (const name of ['SESSION_SECRET', 'MASTER_KEY', 'POSTGRES_PASSWORD', 'EVENTSTORE_ADMIN_PASSWORD', 'BASE_URL']) {
      expect(() => environmentOf('app-1', {...filledIn, [name]: ''})).toThrow(`set ${name} in .env`)
    }
  })

  it('makes certificates with a script that bash reads', () => {
    const {entrypoint, command} = compose.services.certificates!
    expect(entrypoint).toEqual(['bash', '-euc'])
    execFileSync('bash', ['-n', '-c', interpolate(command![0]!, {})])
  })
})

describe('.env.example', () => {
  it('names every variable of docker-compose.yml, and no other', () => {
    const used = new Set([...read('docker-compose.yml').matchAll(VARIABLE)].flatMap(([, name]) => name ?? []))
    expect(new Set(Object.keys(example))).toEqual(used)
  })

  it('holds no secret', () => {
    for (const [name, value] of Object.entries(example))
      if (/SECRET|KEY|PASSWORD|TOKEN/.test(name)) expect(value).toBe('')
  })
})

describe('Dockerfile', () => {
  const dockerfile = read('Dockerfile')

  it('installs what stands in the lockfile, without tools, and runs as nobody special', () => {
    expect(dockerfile).toMatch(/^FROM node:24/m)
    expect(dockerfile).toMatch(/^RUN npm ci --omit=dev/m)
    expect(dockerfile.lastIndexOf('\nUSER node\n')).toBeGreaterThan(dockerfile.lastIndexOf('\nRUN '))
  })

  it('asks readyz whether it is well', async () => {
    const [command, ...args] = JSON.parse(
      /^HEALTHCHECK [^[]*(\[.*\])$/m.exec(dockerfile.replaceAll('\\\n', ''))![1]!.replace(/^CMD /, ''),
    )
    expect(command).toBe('node')
    let status = 200
    const asked: (string | undefined)[] = []
    const server = createServer((incoming, outgoing) => {
      asked.push(incoming.url)
      outgoing.writeHead(status).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const env = {PORT: String((server.address() as AddressInfo).port)}
    const check = () =>
      promisify(execFile)(process.execPath, args, {env}).then(
        () => 0,
        ({code}) => code,
      )
    expect(await check()).toBe(0)
    status = 503
    expect(await check()).toBe(1)
    server.close()
    expect(await check()).toBe(1)
    expect(asked).toEqual(['/readyz', '/readyz'])
  })

  it('takes into the image only what the server runs from', () => {
    const ignore = read('.dockerignore')
      .split('\n')
      .filter((line) => line && !line.startsWith('#'))
    expect(ignore).toEqual(['*', '!bin', '!src', '!web', '!package.json', '!package-lock.json'])
  })
})

const nginx = (() => {
  try {
    execFileSync('nginx', ['-v'], {stdio: 'ignore'})
    return true
  } catch {
    return false
  }
})()

describe('nginx.conf', () => {
  const conf = read('deploy/nginx.conf')

  it('knows the nodes of docker-compose.yml', () => {
    const servers = [...conf.matchAll(/^\s*server (\S+);$/gm)].map(([, server]) => server)
    expect(servers).toEqual([...apps, ...apps].map((name) => `${name}:3000`))
  })

  it('hashes sockets by client address, forwards Upgrade and who asks', () => {
    expect(conf).toMatch(/upstream app_sockets \{\s+hash \$remote_addr consistent;/)
    expect(conf).toMatch(/location \/socket\.io \{\s+proxy_pass http:\/\/app_sockets;/)
    for (const header of [
      'Upgrade',
      'Connection',
      'Host',
      'X-Forwarded-For',
      'X-Forwarded-Host',
      'X-Forwarded-Proto',
    ]) {
      expect(conf).toMatch(new RegExp(`proxy_set_header ${header} \\$`))
    }
  })

  describe.runIf(nginx)('with a real nginx', () => {
    const folder = mkdtempSync(join(tmpdir(), 'nginx-'))
    const nodes: Server[] = []
    let port = 0
    let stop = async () => {}

    const ask = async (options: ClientRequestArgs, body?: Buffer) => {
      const sent = request({host: '127.0.0.1', port, agent: false, ...options}).end(body)
      const [answer] = (await once(sent, 'response')) as [IncomingMessage]
      // It may answer before it has read the whole body, and hang up.
      sent.on('error', () => {})
      return {answer, body: await text(answer)}
    }

    beforeAll(async () => {
      // Started by root, its workers are somebody else, who must reach their own folders in here.
      chmodSync(folder, 0o711)
      for (const name of apps) {
        const node = createServer(async (incoming, outgoing) => {
          let bytes = 0
          for await (const chunk of incoming) bytes += chunk.length
          outgoing.end(JSON.stringify({name, bytes, headers: incoming.headers}))
        })
        node.on('upgrade', (incoming, socket) => {
          socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n`)
          socket.end(`${name} ${incoming.headers.connection}`)
        })
        node.listen(0, '127.0.0.1')
        await once(node, 'listening')
        nodes.push(node)
      }
      const free = createTcpServer().listen(0, '127.0.0.1')
      await once(free, 'listening')
      port = (free.address() as AddressInfo).port
      free.close()
      let here = conf
        .replace('/dev/stdout', join(folder, 'access.log'))
        .replace('listen 80;', `listen 127.0.0.1:${port};`)
        .replace('pid /tmp/nginx.pid;', `pid ${folder}/pid;\ndaemon off;`)
        .replace(
          'http {',
          `http {\n${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join('\n')}`,
        )
      for (const [n, name] of apps.entries()) {
        here = here.replaceAll(`${name}:3000`, `127.0.0.1:${(nodes[n]!.address() as AddressInfo).port}`)
      }
      writeFileSync(join(folder, 'nginx.conf'), here)
      const args = ['-e', 'stderr', '-p', folder, '-c', join(folder, 'nginx.conf')]
      execFileSync('nginx', ['-t', ...args], {stdio: 'pipe'})
      const running = spawn('nginx', args, {stdio: 'ignore'})
      stop = async () => {
        running.kill('SIGQUIT')
        await once(running, 'exit')
      }
      await vi.waitFor(async () => expect((await ask({path: '/'})).answer.statusCode).toBe(200), {timeout: 10_000})
    })
    afterAll(async () => {
      await stop()
      for (const node of nodes) node.close()
      rmSync(folder, {recursive: true})
    })

    it('shares requests among the nodes, and tells them who asks', async () => {
      const headers = {'X-Forwarded-For': '203.0.113.9', 'X-Forwarded-Host': 'evil.example', Host: 'here.example'}
      const answers = []
      for (let n = 0; n < 4; n += 1) answers.push(JSON.parse((await ask({path: '/?token=secret', headers})).body))
      expect(new Set(answers.map(({name}) => name))).toEqual(new Set(apps))
      expect(answers[0].headers).toMatchObject({
        host: 'here.example',
        'x-forwarded-for': '203.0.113.9, 127.0.0.1',
        'x-forwarded-host': 'here.example',
        'x-forwarded-proto': 'http',
      })
      expect(answers[0].headers.connection).not.toBe('close')
    })

    // Other systems have only one loopback address.
    it.runIf(process.platform === 'linux')('keeps the requests of one client address at one node', async () => {
      const reached = new Set<string>()
      for (let address = 1; address <= 20; address += 1) {
        const localAddress = `127.0.0.${address}`
        const names = new Set<string>()
        for (let n = 0; n < 3; n += 1) {
          names.add(JSON.parse((await ask({path: '/socket.io/?EIO=4&transport=polling', localAddress})).body).name)
        }
        expect(names.size).toBe(1)
        for (const name of names) reached.add(name)
      }
      expect(reached).toEqual(new Set(apps))
    })

    it('lets a connection become a WebSocket', async () => {
      const sent = request({
        host: '127.0.0.1',
        port,
        path: '/socket.io/?EIO=4&transport=websocket',
        headers: {Connection: 'Upgrade', Upgrade: 'websocket'},
      }).end()
      const [answer, socket, head] = await once(sent, 'upgrade')
      expect(answer.statusCode).toBe(101)
      expect(head + (await text(socket))).toMatch(/^app-[12] upgrade$/)
    })

    it('takes a file of 10 MiB with its envelope, and says in JSON that a larger body is too large', async () => {
      const full = await ask({path: '/api/upload', method: 'POST'}, Buffer.alloc(10_485_760 + 2000))
      expect(JSON.parse(full.body).bytes).toBe(10_485_760 + 2000)
      const larger = await ask({path: '/api/upload', method: 'POST'}, Buffer.alloc(12_000_000))
      expect(larger.answer.statusCode).toBe(413)
      expect(JSON.parse(larger.body)).toMatchObject({ok: false, code: 'TOO_LARGE'})
    })

    it('writes no query string into its log', () => {
      const log = readFileSync(join(folder, 'access.log'), 'utf8')
      expect(log).toMatch(/ GET \/ 200 /)
      expect(log).not.toContain('secret')
    })

    it('answers 503 in JSON while no node is there', async () => {
      for (const node of nodes) {
        node.close()
        node.closeAllConnections()
      }
      const {answer, body} = await ask({path: '/api/posts'})
      expect(answer.statusCode).toBe(503)
      expect(answer.headers['retry-after']).toBe('2')
      expect(JSON.parse(body)).toMatchObject({ok: false, code: 'UNAVAILABLE'})
    })
  })

  it.skipIf(nginx)('is not tried with a real nginx: there is none on this machine', (context) =>
    context.skip('there is no nginx on this machine'),
  )
})
