import type {Pool} from 'pg'
import type {Config} from '../../config.ts'
import {countWaiting, MAX_QUEUED} from '../../mail/mailQueue.ts'
import {verifySmtp} from '../../mail/transport.ts'
import {checkFolder} from './disk.ts'
import {counted, type Finding, lasting, ok, problem, warning} from './finding.ts'

const LONG_MS = 10 * 60_000

/** Whether the mail server lets us in, as far as that shows without a mail. Its own words may hold what we said, so its codes alone. */
export const checkMail = async (mail: Config['mail']): Promise<Finding[]> => {
  if ('dir' in mail) {
    const [folder] = await checkFolder('DATA_DIR', mail.dir)
    return folder!.verdict === 'problem'
      ? [folder!]
      : [warning(`Mails are files in ${mail.dir}, and reach nobody.`, 'Set SMTP_URL and MAIL_FROM.')]
  }
  const {hostname, port} = new URL(mail.smtpUrl)
  const server = port === '' ? hostname : `${hostname}:${port}`
  try {
    await verifySmtp(mail.smtpUrl)
    return [ok(`The mail server ${server} lets us in.`)]
  } catch (error) {
    const {code = 'it failed', responseCode} = error as {code?: string; responseCode?: number}
    const why = responseCode === undefined ? code : `${code}, ${responseCode}`
    const advice = ADVICE[code] ?? 'Look at SMTP_URL: smtps:// is TLS from the start (465), smtp:// is STARTTLS (587).'
    return [problem(`The mail server ${server} does not let us in (${why}).`, advice)]
  }
}

const ADVICE: {readonly [code: string]: string} = {
  EAUTH: 'Correct the user and the password in SMTP_URL; in a URL, @ is %40 and / is %2F.',
  EDNS: 'Correct the host in SMTP_URL, or the name service of this machine.',
  ECONNECTION: 'Start the mail server, correct host and port in SMTP_URL, or let the firewall pass it.',
  ESOCKET: 'Start the mail server, correct host and port in SMTP_URL, or let the firewall pass it.',
  ETIMEDOUT: 'Correct host and port in SMTP_URL, or let the firewall pass it: nothing answered in time.',
}

/** What waits to be sent, by any node. */
export const checkMailQueue = async (pool: Pool): Promise<Finding[]> => {
  const {count, waitedMs, attempts} = await countWaiting(pool)
  if (count === 0) return [ok('No mail waits to be sent.')]
  const tried = attempts === 0 ? '' : `, tried up to ${counted(attempts, 'time')}`
  const text = `${counted(count, 'mail')} wait to be sent, the oldest for ${lasting(waitedMs)}${tried}.`
  const advice = 'Mails are tried for 24 hours: mend the mail server before, and see that a node runs.'
  if (count >= MAX_QUEUED) return [problem(`${text} No more are taken.`, advice)]
  return [waitedMs > LONG_MS ? warning(text, advice) : ok(text)]
}
