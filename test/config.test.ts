import {isAbsolute, join} from 'node:path'
import {describe, expect, it} from 'vitest'
import {CONFIG_NAMES, ConfigError, readConfig} from '../src/config.ts'

const key = Buffer.alloc(32, 7).toString('base64')
const secrets = {SESSION_SECRET: 's'.repeat(32), MASTER_KEY: key}

const errorOf = (env: NodeJS.ProcessEnv): string => {
  try {
    readConfig(env)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as ConfigError).message
  }
  throw new Error(`accepted: ${JSON.stringify(env)}`)
}

describe('readConfig', () => {
  it('needs nothing: a server for one machine on the embedded database', () => {
    const config = readConfig({})
    expect(isAbsolute(config.dataDir)).toBe(true)
    expect(config).toEqual({
      port: 3000,
      host: '127.0.0.1',
      baseUrl: 'http://localhost:3000',
      dataDir: join(process.cwd(), '.data'),
      databaseUrl: null,
      eventStore: null,
      eventStorePrefix: 'community.',
      sessionSecret: null,
      masterKey: null,
      mail: {dir: join(process.cwd(), '.data/mail'), from: 'no-reply@localhost'},
      discord: null,
      reddit: null,
      uploads: {oss: null, dir: join(process.cwd(), '.data/uploads')},
      chatBotToken: null,
      corsOrigins: [],
      trustProxy: false,
      limits: {mailsPerIp: 5, loginsPerMinute: 20, writesPerMinute: 120, messagesPerMinute: 120},
      bcryptCost: 12,
      logLevel: 'info',
      postsUnpagedMax: 10_000,
    })
  })

  it('counts an empty variable as unset', () => {
    expect(readConfig(Object.fromEntries(CONFIG_NAMES.map((name) => [name, ''])))).toEqual(readConfig({}))
  })

  it('takes every variable', () => {
    const config = readConfig({
      ...secrets,
      PORT: '8080',
      HOST: '::',
      BASE_URL: 'https://Community.example.org/',
      DATA_DIR: '/var/lib/community',
      DATABASE_URL: 'postgres://app:p%40ss@db:5432/community',
      EVENTSTORE_URL: 'esdb://admin:changeit@a:2113,b:2113,c:2113?tls=true&tlsCAFile=/certs/ca.crt',
      EVENTSTORE_PREFIX: 'ours-',
      SMTP_URL: 'smtps://user:secret@mail.example.org:465',
      MAIL_FROM: 'Community <hello@example.org>',
      DISCORD_CLIENT_ID: 'did',
      DISCORD_CLIENT_SECRET: 'dsecret',
      DISCORD_ORIGIN: 'http://127.0.0.1:9001',
      REDDIT_CLIENT_ID: 'rid',
      REDDIT_CLIENT_SECRET: 'rsecret',
      REDDIT_ORIGIN: 'http://127.0.0.1:9002',
      REDDIT_API_ORIGIN: 'http://127.0.0.1:9003',
      OSS_REGION: 'oss-eu-central-1',
      OSS_BUCKET: 'bucket',
      OSS_ACCESS_KEY_ID: 'oid',
      OSS_ACCESS_KEY_SECRET: 'osecret',
      OSS_ENDPOINT: 'https://oss-eu-central-1.aliyuncs.com',
      UPLOAD_DIR: '/srv/uploads',
      CHAT_BOT_TOKEN: 'token',
      CORS_ORIGINS: 'https://a.example, http://b.example:8080',
      TRUST_PROXY: 'loopback, 10.0.0.0/8',
      MAILS_PER_IP: '0',
      LOGINS_PER_MINUTE: '1',
      WRITES_PER_MINUTE: '2',
      MESSAGES_PER_MINUTE: '3',
      BCRYPT_COST: '4',
      LOG_LEVEL: 'silent',
      POSTS_UNPAGED_MAX: '7',
      PATH: '/usr/bin',
    })
    expect(config).toEqual({
      port: 8080,
      host: '::',
      baseUrl: 'https://community.example.org',
      dataDir: '/var/lib/community',
      databaseUrl: 'postgres://app:p%40ss@db:5432/community',
      eventStore: {
        url: 'esdb://admin:changeit@a:2113,b:2113,c:2113?tls=true&tlsCAFile=/certs/ca.crt',
        prefix: 'ours-',
      },
      eventStorePrefix: 'ours-',
      sessionSecret: secrets.SESSION_SECRET,
      masterKey: key,
      mail: {smtpUrl: 'smtps://user:secret@mail.example.org:465', from: 'Community <hello@example.org>'},
      discord: {clientId: 'did', clientSecret: 'dsecret', origin: 'http://127.0.0.1:9001'},
      reddit: {
        clientId: 'rid',
        clientSecret: 'rsecret',
        origin: 'http://127.0.0.1:9002',
        apiOrigin: 'http://127.0.0.1:9003',
      },
      uploads: {
        oss: {
          region: 'oss-eu-central-1',
          bucket: 'bucket',
          accessKeyId: 'oid',
          accessKeySecret: 'osecret',
          endpoint: 'https://oss-eu-central-1.aliyuncs.com',
        },
        dir: '/srv/uploads',
      },
      chatBotToken: 'token',
      corsOrigins: ['https://a.example', 'http://b.example:8080'],
      trustProxy: ['loopback', '10.0.0.0/8'],
      limits: {mailsPerIp: 0, loginsPerMinute: 1, writesPerMinute: 2, messagesPerMinute: 3},
      bcryptCost: 4,
      logLevel: 'silent',
      postsUnpagedMax: 7,
    })
  })

  it('builds BASE_URL from PORT', () => {
    expect(readConfig({PORT: '4000'}).baseUrl).toBe('http://localhost:4000')
  })

  it('knows the origins of Discord and Reddit', () => {
    expect(readConfig({DISCORD_CLIENT_ID: 'a', DISCORD_CLIENT_SECRET: 'b'}).discord).toEqual({
      clientId: 'a',
      clientSecret: 'b',
      origin: 'https://discord.com',
    })
    expect(readConfig({REDDIT_CLIENT_ID: 'a', REDDIT_CLIENT_SECRET: 'b'}).reddit).toEqual({
      clientId: 'a',
      clientSecret: 'b',
      origin: 'https://www.reddit.com',
      apiOrigin: 'https://oauth.reddit.com',
    })
  })

  it('keeps uploads on disk by itself only beside the embedded database', () => {
    const external = {...secrets, DATABASE_URL: 'postgresql://db/community'}
    expect(readConfig(external).uploads).toEqual({oss: null, dir: null})
    expect(readConfig({...external, UPLOAD_DIR: '/srv/uploads'}).uploads.dir).toBe('/srv/uploads')
    expect(readConfig({...secrets, EVENTSTORE_URL: 'esdb://a:2113'}).uploads.dir).toMatch(/uploads$/)
  })

  it('takes TRUST_PROXY as Express does', () => {
    const taken = (value: string) => readConfig({TRUST_PROXY: value}).trustProxy
    expect(taken('off')).toBe(false)
    expect(taken('true')).toBe(true)
    expect(taken('false')).toBe(false)
    expect(taken('0')).toBe(0)
    expect(taken('2')).toBe(2)
    expect(taken('::1,fd00::/8 , linklocal')).toEqual(['::1', 'fd00::/8', 'linklocal'])
  })

  it.each([
    [{NODE_ENV: 'production'}, 'NODE_ENV=production'],
    [{DATABASE_URL: 'postgres://db/community'}, 'DATABASE_URL'],
    [{EVENTSTORE_URL: 'esdb+discover://cluster:2113'}, 'EVENTSTORE_URL'],
  ])('wants both secrets given with %o', (env, because) => {
    expect(errorOf(env)).toMatch(`SESSION_SECRET must be set with ${because}`)
    expect(errorOf({...env, SESSION_SECRET: secrets.SESSION_SECRET})).toMatch(`MASTER_KEY must be set with ${because}`)
    expect(errorOf({...env, ...secrets, MASTER_KEY: ''})).toMatch(`MASTER_KEY must be set with ${because}`)
    expect(readConfig({...env, ...secrets}).masterKey).toBe(key)
  })

  it.each([
    ['DISCORD_CLIENT_ID', 'DISCORD_CLIENT_SECRET'],
    ['DISCORD_CLIENT_SECRET', 'DISCORD_CLIENT_ID'],
    ['REDDIT_CLIENT_ID', 'REDDIT_CLIENT_SECRET'],
    ['REDDIT_CLIENT_SECRET', 'REDDIT_CLIENT_ID'],
    ['OSS_BUCKET', 'OSS_REGION'],
    ['OSS_REGION', 'OSS_BUCKET'],
  ])('refuses %s without %s', (given, missing) => {
    expect(errorOf({[given]: 'something'})).toMatch(`${missing} must be set where ${given} is`)
  })

  it.each([
    ['PORT', ['65536', '-1', '3000.5', '0x10', 'http', ' 3000', '1e3']],
    ['HOST', ['local host', '127.0.0.1\n']],
    [
      'BASE_URL',
      ['example.org', 'ftp://example.org', 'https://example.org/app', 'https://u:p@example.org', 'https://e.org?', 'x'],
    ],
    ['DATABASE_URL', ['mysql://db/x', 'db', 'postgres:db', 'postgres://db:port/x']],
    ['EVENTSTORE_URL', ['http://a:2113', 'esdb://', 'esdb://a b', 'esdb://?tls=false']],
    ['EVENTSTORE_PREFIX', ['$all', 'a b', 'é', 'x'.repeat(65)]],
    ['SESSION_SECRET', ['s'.repeat(31)]],
    ['MASTER_KEY', ['short', 'k'.repeat(32), Buffer.alloc(31).toString('base64'), key.replace('=', ''), `${key}\n`]],
    ['SMTP_URL', ['mail.example.org', 'http://mail.example.org', 'smtp://']],
    ['MAIL_FROM', ['nobody', 'a@b, c@d', 'A <a@b', 'a@b>', 'x\r\nBcc: e@e <a@b>', 'A <a@b> <c@d>']],
    ['DISCORD_ORIGIN', ['discord.com', 'https://discord.com/api']],
    ['REDDIT_ORIGIN', ['reddit']],
    ['REDDIT_API_ORIGIN', ['reddit']],
    ['OSS_ENDPOINT', ['oss']],
    ['CHAT_BOT_TOKEN', ['two words', 'é', 'a\nb']],
    ['CORS_ORIGINS', ['*', 'null', 'https://a.example,', 'https://*.example', 'https://a.example/path', 'a.example']],
    ['TRUST_PROXY', ['yes', '-1', '10.0.0.0/33', '10.0.0.0/0', 'loopback,', '10.0.0.256', '::1/129', '1.1.1.1/8/8']],
    ['MAILS_PER_IP', ['-1', 'none', '1000001']],
    ['LOGINS_PER_MINUTE', ['x']],
    ['WRITES_PER_MINUTE', ['x']],
    ['MESSAGES_PER_MINUTE', ['x']],
    ['BCRYPT_COST', ['3', '16', '12.5']],
    ['LOG_LEVEL', ['verbose', 'INFO']],
    ['POSTS_UNPAGED_MAX', ['0', 'all']],
  ])('refuses a wrong %s in one line that names it and shows no value', (name, values) => {
    for (const value of values) {
      const message = errorOf({...secrets, [name]: value})
      expect(message.startsWith(`${name} must be `), `${value}: ${message}`).toBe(true)
      expect(message).not.toMatch(/[\r\n]/)
      if (value.length > 20) expect(message).not.toContain(value)
    }
  })

  it('cannot be changed afterwards', () => {
    const config = readConfig({CORS_ORIGINS: 'https://a.example'})
    expect(() => Object.assign(config.limits, {mailsPerIp: 0})).toThrow(TypeError)
    expect(() => (config.corsOrigins as string[]).push('https://b.example')).toThrow(TypeError)
  })
})
