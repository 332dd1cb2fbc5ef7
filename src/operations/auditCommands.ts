import {Command} from 'commander'
import {auditExport} from './auditExport.ts'
import {auditImport} from './auditImport.ts'
import {auditProve} from './auditProve.ts'
import {auditSeal} from './auditSeal.ts'
import {auditVerify} from './auditVerify.ts'

export const auditCommands = (): Command => {
  const audit = new Command('audit').description('what happened, and proofs of it')
  for (const command of [auditExport, auditImport, auditSeal, auditVerify, auditProve]) audit.addCommand(command())
  return audit
}
