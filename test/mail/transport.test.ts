import {execFile} from 'node:child_process'
import {once} from 'node:events'
import {mkdtemp, readdir, readFile, rm, stat} from 'node:fs/promises'
import {type AddressInfo, createServer} from 'node:net'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {promisify} from 'node:util'
import {afterEach, beforeEach, describe, expect, it} from 'vitest'
import {resetMail} from '../../src/mail/resetMail.ts'
import {openTransport} from '../../src/mail/transport.ts'
import {verificationMail} from '../../src/mail/verificationMail.ts'
import {smtpPeer} from './smtpPeer.ts'

const link = `http://localhost:3000/api/email/verify?token=${'abcdefghij'.repeat(10)}`
const mail = verificationMail({to: 'foo@example.org', username: 'Foo', askedAt: new Date(), link})
const from = 'Community <no-reply@community.example.org>'
const forever = new AbortController().signal

describe('openTransport', () => {
  const logged: object[] = []
  const logger = {info: (fields: object) => logged.push(fields)}
  let folder: string

  beforeEach(async () => {
    logged.length = 0
    folder = await mkdtemp(join(tmpdir(), 'mail-'))
  })
  afterEach(() => rm(folder, {recursive: true}))

  describe('with SMTP_URL', () => {
    it('hands the mail to the server with both parts, and logs nothing', async () => {
      const peer = await smtpPeer()
      await openTransport({smtpUrl: peer.url, from}, logger).send(mail, 'e-1', forever)
      await peer.stop()
      expect(peer.received).toHaveLength(1)
      const {message, is8Bit: _is8Bit, ...envelope} = peer.received[0]!
      expect(envelope).toEqual({from: 'no-reply@community.example.org', to: ['foo@example.org']})
      expect(message).toContain('From: Community <no-reply@community.example.org>')
      expect(message).toContain('To: foo@example.org')
      expect(message).toContain(`Subject: ${mail.subject}`)
      expect(message).toContain('Message-ID: <e-1@community.example.org>')
      expect(message).toContain('Auto-Submitted: auto-generated')
      expect(message).toContain('Content-Type: text/plain')
      expect(message).toContain('Content-Type: text/html')
      expect(message).toContain(`\r\n${link}\r\n`)
      expect(logged).toEqual([])
    })

    it('leaves a link in one piece beside a name that is not ASCII, and says so to the server', async () => {
      const peer = await smtpPeer()
      const greeting = resetMail({to: 'foo@example.org', username: 'Grüße \u{1f600}', askedAt: new Date(), link})
      await openTransport({smtpUrl: peer.url, from}, logger).send(greeting, 'e-1', forever)
      await peer.stop()
      const {message, is8Bit} = peer.received[0]!
      expect(message).toContain(`\r\n${link}\r\n`)
      expect(message).toContain('Username: Grüße \u{1f600}\r\n')
      expect(is8Bit).toBe(true)
    })

    it('encodes lines that are longer than mail allows, in octets', async () => {
      const peer = await smtpPeer()
      await openTransport({smtpUrl: peer.url, from}, logger).send(
        {...mail, text: 'ü'.repeat(500), html: 'x'.repeat(999)},
        'e-1',
        forever,
      )
      await peer.stop()
      const {message} = peer.received[0]!
      expect(message).not.toContain('ü')
      expect(message).not.toMatch(/.{99}/)
    })

    it('keeps a dot that stands alone, and what comes after it', async () => {
      const peer = await smtpPeer()
      await openTransport({smtpUrl: peer.url, from}, logger).send({...mail, text: 'one\n.\ntwo\n'}, 'e-1', forever)
      await peer.stop()
      expect(peer.received[0]!.message).toContain('\r\none\r\n.\r\ntwo\r\n')
    })

    it('reaches a server by name', async () => {
      const peer = await smtpPeer()
      const smtpUrl = `smtp://localhost:${peer.port}`
      await openTransport({smtpUrl, from}, logger).send(mail, 'e-1', forever)
      await peer.stop()
      expect(peer.received).toHaveLength(1)
    })

    it.each([
      'a@example.org, b@example.org',
      'a@example.org\r\nBcc: b@example.org',
      'a@example.org> RCPT TO:<b@example.org',
    ])('makes no second recipient of %j', async (to) => {
      const peer = await smtpPeer()
      await openTransport({smtpUrl: peer.url, from}, logger)
        .send({...mail, to}, 'e-1', forever)
        .catch(() => {})
      await peer.stop()
      for (const {to: recipients, message} of peer.received) {
        expect(recipients).toHaveLength(1)
        expect(recipients[0]).not.toBe('b@example.org')
        expect(message).not.toMatch(/^Bcc:/m)
      }
    })

    it('gives up a server that never answers when it is told to', async () => {
      const silent = createServer().listen(0, '127.0.0.1')
      await once(silent, 'listening')
      const smtpUrl = `smtp://127.0.0.1:${(silent.address() as AddressInfo).port}`
      const connected = once(silent, 'connection')
      const abort = new AbortController()
      const sent = openTransport({smtpUrl, from}, logger).send(mail, 'e-1', abort.signal)
      const [socket] = await connected
      abort.abort()
      await expect(sent).rejects.toThrow()
      await once(socket, 'close')
      silent.close()
    })
  })

  describe('without SMTP_URL', () => {
    it('writes a file that only its owner can read, and logs the link', async () => {
      const dir = join(folder, 'data', 'mail')
      await openTransport({dir, from}, logger).send(mail, 'e-1', forever)
      const [file, ...others] = await readdir(dir)
      expect(others).toEqual([])
      expect(file).toMatch(/^\d{4}-\d\d-\d\dT\d{6}\.\d{3}Z-e-1\.eml$/)
      expect((await stat(join(dir, file!))).mode & 0o777).toBe(0o600)
      expect((await stat(dir)).mode & 0o777).toBe(0o700)
      expect(await readFile(join(dir, file!), 'utf8')).toContain(`\n${link}\r\n`)
      expect(logged).toEqual([{file: join(dir, file!), link}])
    })

    it('names files in the order of their time', async () => {
      const dir = join(folder, 'mail')
      const transport = openTransport({dir, from}, logger)
      for (const id of ['c', 'a', 'b']) {
        const before = Date.now()
        await transport.send(mail, id, forever)
        await expect.poll(() => Date.now()).toBeGreaterThan(before)
      }
      expect((await readdir(dir)).sort().map((file) => file.at(-5))).toEqual(['c', 'a', 'b'])
    })
  })

  it('loads nodemailer with the first mail, not before', async () => {
    const script = `
      import {registerHooks} from 'node:module'
      const loaded = []
      registerHooks({resolve: (name, context, next) => (loaded.push(name), next(name, context))})
      const {openTransport} = await import(${JSON.stringify(new URL('../../src/mail/transport.ts', import.meta.url).href)})
      const transport = openTransport({dir: ${JSON.stringify(folder)}, from: 'a@example.org'}, {info: () => {}})
      const before = loaded.includes('nodemailer')
      await transport.send({to: 'b@example.org', subject: '', text: '', html: ''}, 'e-1')
      console.log(before, loaded.includes('nodemailer'))`
    const {stdout} = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout).toBe('false true\n')
  })
})
