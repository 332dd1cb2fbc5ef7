import {Command} from 'commander'
import {auditExport} from './auditExport.ts'
import {auditImport} from './auditImport.ts'
import {auditLog} from './auditLog.ts'
import {auditProve} from './auditProve.ts'
import {auditReplay} from './auditReplay.ts'
import {auditSeal} from './auditSeal.ts'
import {auditShow} from './auditShow.ts'
import {auditTrace} from './auditTrace.ts'
import {auditVerify} from './auditVerify.ts'

const COMMANDS = [
  auditLog,
  auditShow,
  auditTrace,
  auditReplay,
  auditExport,
  auditImport,
  auditSeal,
  auditVerify,
  auditProve,
]

export const auditCommands = (): Command => {
  const audit = new Command('audit').description('what happened, and proofs of it')
  for (const command of COMMANDS) audit.addCommand(command())
  return audit
}
