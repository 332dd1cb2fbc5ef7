import {spawn} from 'node:child_process'
import {fileURLToPath} from 'node:url'
import {describe, expect, it} from 'vitest'

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))

const run = (args: string[]): Promise<{status: number | null; stdout: string; stderr: string}> => {
  const child = spawn(process.execPath, [MAIN, ...args], {env: {PATH: process.env.PATH}})
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  return new Promise((resolve) => child.once('close', (status) => resolve({status, stdout, stderr})))
}

describe('npm run bench', () => {
  it('measures every figure; how fast it is, is for a quiet machine to say', {timeout: 300_000}, async () => {
    const {status, stdout, stderr} = await run(['--quick'])
    expect(status, stderr).toBe(0)
    expect(stdout).toContain('| GET /api/posts, 20 posts, 100 connections |')
  })
})
