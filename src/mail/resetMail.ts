import {linkMail} from './linkMail.ts'
import type {Mail} from './transport.ts'

/** The mail for whoever forgot a password, or for somebody whom another wants to have forgotten it. `link` ends after 24 hours. */
export const resetMail = (request: {to: string; username: string; askedAt: Date; link: string}): Mail =>
  linkMail({
    ...request,
    subject: 'Choose a new password',
    what: ['somebody asked for a new password for this email address in the community.'],
    invitation: [
      'If this was you, open this link within 24 hours and choose one. You are',
      'signed in by it, and signed out everywhere else:',
    ],
    otherwise: [
      'If it was not you, do not open the link and forget this mail: nothing',
      'changes, and nobody else can open it.',
    ],
  })
