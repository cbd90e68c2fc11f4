version 1.1

# Aligns a pair of FASTQ files, sorts and indexes the alignments, counts them, and looks at another BAM.
workflow align {
    input {
        File reads1
        File reads2
        File reference
        File other
        String sample
    }
    call map { input: reads1, reads2, reference, sample }
    call flagstat { input: bam = other }
    output {
        File bam = map.bam
        File index = map.index
        Int mapped = map.mapped
        File report = flagstat.report
    }
}

task map {
    input {
        File reads1
        File reads2
        File reference
        String sample
    }
    command <<<
        set -euo pipefail
        cp "~{reference}" reference.fa
        bwa index reference.fa
        bwa mem -t 2 -R '@RG\tID:1\tSM:~{sample}' reference.fa "~{reads1}" "~{reads2}" |
            samtools sort -o "~{sample}.bam" -
        samtools index "~{sample}.bam"
        samtools view -c -F 4 "~{sample}.bam" > mapped.txt
    >>>
    output {
        File bam = "~{sample}.bam"
        File index = "~{sample}.bam.bai"
        Int mapped = read_int("mapped.txt")
    }
    runtime {
        container: "tools:1"
        cpu: 2
        memory: "1 GiB"
    }
}

task flagstat {
    input {
        File bam
    }
    command <<<
        set -euo pipefail
        samtools flagstat "~{bam}" > flagstat.txt
    >>>
    output {
        File report = "flagstat.txt"
    }
    runtime {
        container: "tools:1"
        cpu: 1
        memory: "512 MiB"
    }
}
