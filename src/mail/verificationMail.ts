import {linkMail} from './linkMail.ts'
import type {Mail} from './transport.ts'

/** The mail of one attempt to register, written also for a reader who did not make it. `link` ends after 24 hours. */
export const verificationMail = (attempt: {to: string; username: string; askedAt: Date; link: string}): Mail =>
  linkMail({
    ...attempt,
    subject: 'Confirm your email address',
    what: ['somebody registered this email address with the community.'],
    invitation: ['If this was you, open this link within 24 hours. It confirms the address', 'and signs you in:'],
    otherwise: [
      'If it was not you, or the name or the time is not yours, do not open the',
      'link and forget this mail: without it the registration never takes effect.',
    ],
  })
