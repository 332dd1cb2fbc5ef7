import {open, rename} from 'node:fs/promises'
import {join} from 'node:path'
import type {SendMailOptions} from 'nodemailer'
import type {Logger} from 'pino'
import {type Config, makeFolder} from '../config.ts'

/** `to` is one bare address. A link that the reader is to open stands alone on its line of `text`. */
export type Mail = {to: string; subject: string; text: string; html: string}

export type Transport = {
  /** Mails become files here: soon done, and not by somebody else. */
  isLocal: boolean
  /** Settles when the mail server has taken the mail, or the file is written. The same `id` is the same mail sent again. */
  send(mail: Mail, id: string, signal: AbortSignal): Promise<void>
}

/** By SMTP where `mail` holds a URL; else into files, for somebody who tries the server on their own machine. */
export const openTransport = (mail: Config['mail'], logger: Pick<Logger, 'info'>): Transport =>
  'dir' in mail ? intoFiles(mail.dir, mail.from, logger) : bySmtp(mail.smtpUrl, mail.from)

const bySmtp = (url: string, from: string): Transport => ({
  isLocal: false,
  send: async (mail, id, signal) => {
    const transporter = await connect(url)
    await transporter.sendMail({...message(mail, id, from), signal})
  },
})

const connect = async (url: string) => {
  // Imported late: most starts send no mail, and the package costs memory.
  const {createTransport} = await import('nodemailer')
  return createTransport({
    url,
    dnsTimeout: 10_000,
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 30_000,
    allowInternalNetworkInterfaces: true,
  })
}

/** Connects and signs in, and sends nothing. */
export const verifySmtp = async (url: string): Promise<void> => {
  await (await connect(url)).verify()
}

const intoFiles = (dir: string, from: string, logger: Pick<Logger, 'info'>): Transport => ({
  isLocal: true,
  send: async (mail, id) => {
    const {createTransport} = await import('nodemailer')
    const composer = createTransport({streamTransport: true, buffer: true, newline: 'windows'})
    const composed = await composer.sendMail(message(mail, id, from))
    await makeFolder(dir, 0o700)
    const file = join(dir, `${new Date().toISOString().replaceAll(':', '')}-${id}.eml`)
    await writeDurably(file, composed.message as Buffer)
    const link = /^https?:\/\/\S+$/m.exec(mail.text)?.[0]
    logger.info({file, link}, 'no SMTP_URL is set: the mail is in a file')
  },
})

/** An address as a string would be parsed, and a comma in it would be a second recipient; as an object it is one. */
const message = ({to, subject, text, html}: Mail, id: string, from: string): SendMailOptions => ({
  from,
  to: {name: '', address: to},
  // Says BODY=8BITMIME (RFC 6152) to a server that knows it.
  envelope: {from, to: {name: '', address: to}, use8BitMime: true} as SendMailOptions['envelope'],
  subject,
  text: part('plain', text),
  html: part('html', html),
  messageId: `<${id}@${from.replace(/^.*@|>$/g, '')}>`,
  headers: {'Auto-Submitted': 'auto-generated'},
})

/**
 * Left to itself, nodemailer breaks lines of more than 76 characters by quoted-printable, and a link in a file could not be
 * taken out of it by eye. Mail allows 998 octets (RFC 5322), so a text of such lines goes as it is.
 */
const part = (kind: 'plain' | 'html', content: string): string | {raw: string} => {
  if (!content.split('\n').every((line) => Buffer.byteLength(line) <= 998 && /^[^\p{Cc}]*$/u.test(line))) return content
  const encoding = /^\p{ASCII}*$/u.test(content) ? '7bit' : '8bit'
  return {raw: `Content-Type: text/${kind}; charset=utf-8\nContent-Transfer-Encoding: ${encoding}\n\n${content}`}
}

const writeDurably = async (file: string, content: Buffer): Promise<void> => {
  const temporary = `${file}.part`
  const handle = await open(temporary, 'w', 0o600)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, file)
}
